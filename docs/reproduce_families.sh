#!/usr/bin/env bash
# Computes every figure of docs/results.md on language families, vocabularies, tags and trees. Finished runs are skipped,
# stopped ones resumed. Results land in OUT as one JSON object a file.
#
#   LANGLIFT_DATA=... docs/reproduce_families.sh OUT [PART...]
#   parts: corpora unseen_script uralic bantu treebanks zero_shot curves
#
# Parts may run beside each other, one process a part, each with its own cores. corpora comes first; treebanks,
# zero_shot and curves want the models of uralic, or make what they miss.
set -euo pipefail
: "${LANGLIFT_DATA:?must name the folder of real data}"
OUT=${1:?name a folder for the results}
shift
PARTS=${*:-corpora unseen_script uralic bantu treebanks zero_shot curves}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SEEDS="1 2 3"
URALIC="sme_Latn myv_Cyrl mdf_Cyrl kpv_Cyrl fin_Latn est_Latn hun_Latn"
BANTU="swh_Latn sna_Latn zul_Latn xho_Latn"
export CORPORA=$OUT/corpora
mkdir -p "$OUT" "$CORPORA"

# keep NAME COMMAND...: run a langlift command with --json, unless its result is there.
keep() {
  local name=$1
  shift
  [ -s "$OUT/$name.json" ] && return
  langlift "$@" --json > "$OUT/$name.partial"
  mv "$OUT/$name.partial" "$OUT/$name.json"
}

# The Uralic corpora; of Finnish, Estonian and Hungarian the tenth that langlift-nano has not seen.
corpora() {
  [ -d "$OUT/reserved" ] ||
    python "$HERE/examples/reserved_text.py" "$LANGLIFT_DATA/corpus" "$OUT/reserved" fin_Latn est_Latn hun_Latn
  for language in $URALIC; do
    local file=$LANGLIFT_DATA/corpus/$language.txt
    [ -f "$OUT/reserved/$language.txt" ] && file=$OUT/reserved/$language.txt
    keep "corpus-$language" corpus build "$language" --source "file:$file" --out "$CORPORA/$language"
  done
}

# vocabulary FAMILY SIZE: a unigram vocabulary of the family's own texts.
vocabulary() {
  local family=$1 size=$2 texts=()
  if [ "$family" = uralic ]; then
    for language in $URALIC; do texts+=(--corpus "$CORPORA/$language"); done
  else
    for language in $BANTU; do texts+=(--corpus "$LANGLIFT_DATA/corpus/$language.txt"); done
  fi
  keep "vocabulary-$family-$size" vocab build "$family" --base langlift-nano --size "$size" --alpha 0.4 \
    "${texts[@]}" --out "$OUT/vocabulary-$family-$size"
}

# family FAMILY VOCABULARY ALPHA STEPS: three seeds; VOCABULARY is nano or the size of one of the family's own.
family() {
  local name=$1 size=$2 alpha=$3 steps=$4 with=()
  if [ "$size" != nano ]; then
    vocabulary "$name" "$size"
    with=(--vocabulary "$OUT/vocabulary-$name-$size" --set vector_least_count=3)
  fi
  for seed in $SEEDS; do
    local run=$name-$size-$alpha-$steps-$seed
    keep "$run" adapt-family "$HERE/examples/$name.yaml" --set "alpha=$alpha" --steps "$steps" --seed "$seed" \
      --precision bf16 --out "$OUT/$run" --resume "${with[@]}"
    scores "$name" "$run" "$OUT/$run"
  done
}

# scores FAMILY NAME MODEL: within-word pseudo-perplexity on held-out text, which vocabularies can be compared by.
scores() {
  local name=$1 run=$2 model=$3 text
  for language in $([ "$name" = uralic ] && echo "$URALIC" || echo "$BANTU"); do
    text=$LANGLIFT_DATA/eval/flores_text/$language.txt
    [ "$name" = uralic ] && text=$CORPORA/$language
    keep "score-$run-$language" score --base "$model" --variant within_word_l2r --sentences 50 --text "$text"
  done
}

uralic() {
  scores uralic uralic-base langlift-nano
  family uralic nano 0.4 750
  family uralic 16000 0.4 750
  family uralic 16000 0.1 750
  family uralic 8000 0.4 750
  family uralic nano 0.4 250
  family uralic 16000 0.4 250
  family uralic 8000 0.4 250
}

bantu() {
  scores bantu bantu-base langlift-nano
  family bantu nano 0.4 750
  family bantu 16000 0.4 750
}

# in_all_states COMMAND...: with the base untouched, after the family in its own vocabulary, and after it in a new one.
in_all_states() {
  local SEEDS=1
  family uralic nano 0.4 750
  family uralic 16000 0.4 750
  "$@" base langlift-nano
  "$@" nano "$OUT/uralic-nano-0.4-750-1"
  "$@" 16000 "$OUT/uralic-16000-0.4-750-1"
}

# words TASK RUN MODEL OPTION...: the whole model is trained, three seeds.
words() {
  local task=$1 run=$2 model=$3
  shift 3
  keep "$run" task "$task" --base "$model" --preset nano --method full --epochs 10 --seeds 1,2,3 --precision bf16 \
    --out "$OUT/$run" --resume "$@"
}

treebank() {
  local name=$1 model=$2 data
  for treebank in Erzya-JR North_Sami-Giella Hungarian-Szeged; do
    data=$LANGLIFT_DATA/eval/ud/$treebank
    for task in dependencies pos; do
      words $task "$task-few-$treebank-$name" "$model" --data "$data" --train-examples 512
      words $task "$task-full-$treebank-$name" "$model" --data "$data"
    done
  done
}

transferred() {
  local name=$1 model=$2 train=()
  for treebank in Hungarian-Szeged North_Sami-Giella Erzya-JR; do
    train+=(--train-data "$LANGLIFT_DATA/eval/ud/$treebank")
  done
  for treebank in Moksha-JR Komi_Zyrian-Lattice; do
    for task in dependencies pos; do
      words $task "$task-zero-$treebank-$name" "$model" --data "$LANGLIFT_DATA/eval/ud/$treebank" "${train[@]}" \
        --train-examples 1536
    done
  done
}

# How much a treebank helps: from 64 sentences to all.
curve() {
  local name=$1 model=$2
  for examples in 64 128 256; do
    for task in dependencies pos; do
      words $task "$task-$examples-North_Sami-Giella-$name" "$model" --train-examples $examples \
        --data "$LANGLIFT_DATA/eval/ud/North_Sami-Giella"
    done
  done
}

# A sibling of langlift-nano that has never seen Amharic nor its script: as it is, with new pieces, with a new vocabulary.
unseen_script() {
  local text=$LANGLIFT_DATA/corpus/amh_Ethi.txt sibling=$OUT/sibling/model
  keep sibling pretrain --preset nano --config "$HERE/examples/without_amharic.yaml" --corpus "$LANGLIFT_DATA/corpus" \
    --out "$OUT/sibling" --resume
  keep amharic-diagnosis diagnose amh_Ethi --base "$sibling" --text "$text"
  keep vocabulary-amharic-2000 vocab build amh_Ethi --extend "$sibling" --pieces 2000 --corpus "$text" \
    --out "$OUT/vocabulary-amharic-2000"
  keep vocabulary-amharic-8000 vocab build amh_Ethi --base "$sibling" --size 8000 --corpus "$text" \
    --out "$OUT/vocabulary-amharic-8000"
  for pieces in 2000 8000; do
    keep "amharic-start-$pieces" vocab apply --base "$sibling" --vocabulary "$OUT/vocabulary-amharic-$pieces" \
      --corpus "$text" --init focus --out "$OUT/amharic-start-$pieces"
  done
  amharic sibling "$sibling"
  amharic 2000 "$OUT/amharic-start-2000"
  amharic 8000 "$OUT/amharic-start-8000"
}

# amharic NAME MODEL: scores and topics before and after training on Amharic text.
amharic() {
  local name=$1 model=$2 run
  judged "amharic-$name-untrained" "$model"
  for seed in $SEEDS; do
    run=amharic-$name-$seed
    keep "$run" adapt amh_Ethi --base "$model" --preset nano --method full --lr 5e-4 --seed "$seed" --precision bf16 \
      --data "$LANGLIFT_DATA/corpus/amh_Ethi.txt" --out "$OUT/$run" --resume
    judged "$run" "$OUT/$run"
  done
}

judged() {
  local name=$1 model=$2
  keep "score-$name" score --base "$model" --variant within_word_l2r --sentences 50 \
    --text "$LANGLIFT_DATA/eval/flores_text/amh_Ethi.txt"
  keep "topic-$name" task topic --base "$model" --preset nano --method full --seeds 1,2,3 --precision bf16 \
    --data "$LANGLIFT_DATA/eval/sib200/amh_Ethi" --out "$OUT/topic-$name" --resume
}

for part in $PARTS; do
  case $part in
    corpora | uralic | bantu | unseen_script) "$part" ;;
    treebanks) in_all_states treebank ;;
    zero_shot) in_all_states transferred ;;
    curves) in_all_states curve ;;
    *)
      echo "unknown part $part" >&2
      exit 2
      ;;
  esac
done
