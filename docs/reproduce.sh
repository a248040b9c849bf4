#!/usr/bin/env bash
# Computes every figure of docs/results.md and of langlift-nano's card: about an hour on two cores with bf16.
# Finished runs are skipped, stopped ones resumed. Results land in OUT as one JSON object a file.
#
#   LANGLIFT_DATA=... docs/reproduce.sh OUT [PART...]      parts: base mlt_Latn swh_Latn seq_bn_inv
#
# Parts are independent: one process a part, each with its own cores, is the fastest way.
set -euo pipefail
: "${LANGLIFT_DATA:?must name the folder of real data}"
OUT=${1:?name a folder for the results}
shift
PARTS=${*:-base mlt_Latn swh_Latn seq_bn_inv}
mkdir -p "$OUT"

# keep NAME COMMAND...: run a langlift command with --json, unless its result is there.
keep() {
  local name=$1
  shift
  [ -s "$OUT/$name.json" ] && return
  langlift "$@" --json > "$OUT/$name.partial"
  mv "$OUT/$name.partial" "$OUT/$name.json"
}

topic() {
  local name=$1 language=$2
  shift 2
  keep "$name-$language" task topic --base langlift-nano --data "$LANGLIFT_DATA/eval/sib200/$language" \
    --out "$OUT/$name-$language" --seeds 1,2,3 --precision bf16 --resume "$@"
}

# Languages the base was trained on: topic classification by full fine-tuning, and pseudo-perplexity.
base() {
  for language in eng_Latn fra_Latn ind_Latn hau_Latn bul_Cyrl; do
    topic topic-full "$language" --method full
  done
  for language in eng_Latn fra_Latn spa_Latn fin_Latn est_Latn hun_Latn ind_Latn bul_Cyrl ell_Grek tur_Latn \
    heb_Hebr slk_Latn lvs_Latn ukr_Cyrl rus_Cyrl hau_Latn som_Latn amh_Ethi zul_Latn xho_Latn; do
    keep "score-base-$language" score --base langlift-nano --sentences 50 \
      --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  done
}

# Languages it has never seen: adapters on text, scored on FLORES, and a topic classifier without and with one.
target() {
  local language=$1
  keep "score-base-$language" score --base langlift-nano --sentences 50 \
    --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  adapters "$language" seq_bn
  topic topic-task "$language"
  topic topic-stacked "$language" --language-adapter "$OUT/adapt-seq_bn-$language-1"
}

adapters() {
  local language=$1 method=$2
  for seed in 1 2 3; do
    local run="adapt-$method-$language-$seed"
    keep "$run" adapt "$language" --base langlift-nano --method "$method" --seed "$seed" --precision bf16 \
      --data "$LANGLIFT_DATA/corpus/$language.txt" --out "$OUT/$run" --resume
    keep "score-$method-$language-$seed" score --base langlift-nano --adapter "$OUT/$run" --sentences 50 \
      --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  done
}

for part in $PARTS; do
  case $part in
    base) base ;;
    seq_bn_inv)
      adapters mlt_Latn seq_bn_inv
      adapters swh_Latn seq_bn_inv
      ;;
    *) target "$part" ;;
  esac
done
