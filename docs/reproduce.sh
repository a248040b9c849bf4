#!/usr/bin/env bash
# Computes every figure of docs/results.md and of langlift-nano's card: under two hours of one core with bf16.
# Finished runs are skipped, stopped ones resumed. Results land in OUT as one JSON object a file.
#
#   LANGLIFT_DATA=... docs/reproduce.sh OUT [PART...]      parts: base mlt_Latn swh_Latn seq_bn_inv graph
#
# Parts are independent: one process a part, each with its own cores, is the fastest way.
set -euo pipefail
: "${LANGLIFT_DATA:?must name the folder of real data}"
OUT=${1:?name a folder for the results}
shift
PARTS=${*:-base mlt_Latn swh_Latn seq_bn_inv graph}
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
    score_base "$language"
  done
}

# Languages it has never seen: adapters on text, scored on FLORES, and a topic classifier without and with one.
target() {
  local language=$1
  score_base "$language"
  adapters seq_bn "$language" seq_bn "$LANGLIFT_DATA/corpus/$language.txt"
  topic topic-task "$language"
  topic topic-stacked "$language" --language-adapter "$OUT/adapt-seq_bn-$language-1"
}

# Adapters on ConceptNet's edges of a language, beside those on text.
graph() {
  local language=$1 code=$2
  score_base "$language"
  keep "graph-data-$language" graph build "$language" --out "$OUT/graph-data-$language" \
    --source "conceptnet:$LANGLIFT_DATA/kg/conceptnet/$code.tsv.gz"
  adapters seq_bn "$language" seq_bn "$LANGLIFT_DATA/corpus/$language.txt"
  adapters graph "$language" seq_bn "$OUT/graph-data-$language"
}

score_base() {
  keep "score-base-$1" score --base langlift-nano --sentences 50 --text "$LANGLIFT_DATA/eval/flores_text/$1.txt"
}

# adapters NAME LANGUAGE METHOD DATA: three seeds, each scored on FLORES.
adapters() {
  local name=$1 language=$2 method=$3 data=$4
  for seed in 1 2 3; do
    local run="adapt-$name-$language-$seed"
    keep "$run" adapt "$language" --base langlift-nano --method "$method" --seed "$seed" --precision bf16 \
      --data "$data" --out "$OUT/$run" --resume
    keep "score-$name-$language-$seed" score --base langlift-nano --adapter "$OUT/$run" --sentences 50 \
      --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  done
}

for part in $PARTS; do
  case $part in
    base) base ;;
    seq_bn_inv)
      for language in mlt_Latn swh_Latn; do
        adapters seq_bn_inv "$language" seq_bn_inv "$LANGLIFT_DATA/corpus/$language.txt"
      done
      ;;
    graph)
      graph uig_Arab ug
      graph mlt_Latn mt
      ;;
    *) target "$part" ;;
  esac
done
