#!/usr/bin/env bash
# What the advice of `langlift diagnose` costs against the best of a grid: for ten languages, each method and objective on the
# vocabulary as it is, an extended one and a new one, in the same number of steps, scored on FLORES-200. `tools/advice_regret.py`
# makes the tables of docs/diagnose.md from the results. Finished runs are skipped and interrupted ones resumed.
#
#   LANGLIFT_DATA=... docs/reproduce_advice.sh OUT [BASE [LANGUAGE...]]
source "$(dirname "${BASH_SOURCE[0]}")/reproduce_common.sh"
OUT=${1:?name a folder for the results}/${2:-langlift-nano}
BASE=${2:-langlift-nano}
LANGUAGES=${*:3}
mkdir -p "$OUT"

# train NAME LANGUAGE BASE METHOD OBJECTIVE: adapt a model and score the result.
train() {
  local name=$1 language=$2 base=$3
  [ -s "$OUT/score-$name.json" ] && return
  keep "adapt-$name" adapt "$language" --base "$base" --preset "${BASE#langlift-}" --method "$4" --objective "$5" --seed 1 \
    --steps 200 --precision bf16 --data "$LANGLIFT_DATA/corpus/$language.txt" --out "$OUT/$name" --resume
  local model=(--base "$base" --adapter "$OUT/$name")
  [ "$4" != full ] || model=(--base "$OUT/$name")
  keep "score-$name" score "${model[@]}" "${SCORE[@]}" --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  [ "$4" != full ] || rm -r "${OUT:?}/$name" # whole models are large, and only their scores are needed
}

SCORE=(--variant within_word_l2r --sentences 25 --precision bf16)
grid() {
  local language=$1 corpus=$LANGLIFT_DATA/corpus/$1.txt
  keep "diagnose-$language" diagnose "$language" --base "$BASE" --text "$corpus" --no-timing
  keep "score-$language" score --base "$BASE" "${SCORE[@]}" --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  for method in seq_bn seq_bn_inv full; do
    train "$language-keep-$method-mlm" "$language" "$BASE" "$method" mlm
  done
  train "$language-keep-full-full_word" "$language" "$BASE" full full_word
  local size=8000 pieces=3000 bytes
  bytes=$(wc -c < "$corpus")
  [ "$bytes" -ge 750000 ] || { size=4000 && pieces=2000; } # a small text has too few words for more
  [ "$bytes" -ge 200000 ] || { size=2000 && pieces=1000; }
  [ -d "$OUT/$language-extend" ] || langlift vocab build "$language" --extend "$BASE" --pieces $pieces --corpus "$corpus" \
    --out "$OUT/$language-extend"
  [ -d "$OUT/$language-specialise" ] || langlift vocab build "$language" --base "$BASE" --size $size --corpus "$corpus" \
    --out "$OUT/$language-specialise"
  for vocabulary in extend specialise; do
    [ -s "$OUT/score-$language-$vocabulary-full-mlm.json" ] && continue
    [ -d "$OUT/$language-$vocabulary-model" ] || langlift vocab apply --base "$BASE" --vocabulary "$OUT/$language-$vocabulary" \
      --init focus --corpus "$corpus" --out "$OUT/$language-$vocabulary-model"
    train "$language-$vocabulary-full-mlm" "$language" "$OUT/$language-$vocabulary-model" full mlm
    rm -r "$OUT/$language-$vocabulary-model"
  done
}

for language in ${LANGUAGES:-mlt_Latn yor_Latn ibo_Latn sna_Latn kab_Latn swh_Latn uig_Arab cym_Latn gla_Latn hau_Latn}; do
  grid "$language"
done
