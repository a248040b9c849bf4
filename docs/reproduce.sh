#!/usr/bin/env bash
# Computes the figures of docs/results-nano.md (except families, trees and studies, which have their own commands there) and of
# langlift-nano's card. Takes about five hours on one core with bf16.
# Finished runs are skipped and interrupted ones resumed. Results are written to OUT, one JSON object per file.
#
#   LANGLIFT_DATA=... docs/reproduce.sh OUT [PART...]
#   parts: base mlt_Latn swh_Latn seq_bn_inv graph objectives mosa uyghur sentiment ner full causal
#
# Parts can run in parallel, one process per part, each with its own cores. sentiment, ner and full use the adapters of
# swh_Latn, mlt_Latn and graph, and train those that are missing.
source "$(dirname "${BASH_SOURCE[0]}")/reproduce_common.sh"
OUT=${1:?name a folder for the results}
shift
PARTS=${*:-base mlt_Latn swh_Latn seq_bn_inv graph objectives mosa uyghur sentiment ner full causal}
ALL_SEEDS="1 2 3"
SEEDS=$ALL_SEEDS
EXAMPLES=1000 # at most so many for training a task
mkdir -p "$OUT"

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

# Languages it has never seen: adapters on text, scored on FLORES, and a topic classifier with and without one.
target() {
  local language=$1
  score_base "$language"
  adapters seq_bn "$language" seq_bn "$LANGLIFT_DATA/corpus/$language.txt"
  topic topic-task "$language"
  topic topic-stacked "$language" --language-adapter "$OUT/adapt-seq_bn-$language-1"
}

# Adapters on ConceptNet's edges of a language, compared with those on text.
graph() {
  local language=$1
  score_base "$language"
  adapters seq_bn "$language" seq_bn "$LANGLIFT_DATA/corpus/$language.txt"
  graph_data "$language"
  adapters graph "$language" seq_bn "$OUT/graph-data-$language"
}

# Objectives on a graph: words, arguments, and arguments as the published script masks them.
objectives() {
  local language=$1
  score_base "$language"
  graph_data "$language"
  adapters graph "$language" seq_bn "$OUT/graph-data-$language"
  for objective in full_word targeted; do
    adapters "graph_$objective" "$language" seq_bn "$OUT/graph-data-$language" --objective "$objective"
  done
}

# Mixtures of sparse adapters on text, compared with Seq_bn of the same size; and as task adapters.
mosa() {
  local language=$1
  adapters seq_bn "$language" seq_bn "$LANGLIFT_DATA/corpus/$language.txt"
  adapters mosa "$language" mosa "$LANGLIFT_DATA/corpus/$language.txt"
  task sentiment task "$language"
  task sentiment mosa "$language" --method mosa
}

# A task without a language adapter, stacked on one (text, graph), and on the fusion of both.
knowledge() {
  local name=$1 language=$2
  SEEDS=1
  adapters seq_bn "$language" seq_bn "$LANGLIFT_DATA/corpus/$language.txt"
  graph_data "$language"
  adapters graph "$language" seq_bn "$OUT/graph-data-$language"
  SEEDS=$ALL_SEEDS
  task "$name" task "$language"
  task "$name" text "$language" --language-adapter "$OUT/adapt-seq_bn-$language-1"
  task "$name" graph "$language" --language-adapter "$OUT/adapt-graph-$language-1"
  keep "$name-fused-$language" fuse "$OUT/adapt-seq_bn-$language-1" "$OUT/adapt-graph-$language-1" --task "$name" \
    --base langlift-nano --data "$(examples "$name" "$language")" --out "$OUT/$name-fused-$language" \
    --seeds 1,2,3 --precision bf16 --resume --train-examples "$EXAMPLES"
}

# The published baseline: the whole model trained on the corpus, then a task adapter on the model of seed 1.
full() {
  local language=$1 run
  for seed in $SEEDS; do
    run=adapt-full-$language-$seed
    keep "$run" adapt "$language" --base langlift-nano --method full --lr 3e-4 --seed "$seed" --precision bf16 \
      --data "$LANGLIFT_DATA/corpus/$language.txt" --out "$OUT/$run" --resume
    keep "score-full-$language-$seed" score --base "$OUT/$run" --sentences 50 \
      --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
  done
  keep "sentiment-full-$language" task sentiment --base "$OUT/adapt-full-$language-1" --preset nano \
    --data "$LANGLIFT_DATA/eval/sentiment/$language" --out "$OUT/sentiment-full-$language" \
    --seeds 1,2,3 --precision bf16 --resume --train-examples "$EXAMPLES"
}

# A small decoder, adapted to Swahili with Seq_bn and by full fine-tuning.
causal() {
  local base=$OUT/causal-base/model text=$LANGLIFT_DATA/corpus/swh_Latn.txt test=$LANGLIFT_DATA/eval/flores_text/swh_Latn.txt
  keep causal-base pretrain --preset nano --objective causal --config "$HERE/examples/causal_sibling.yaml" \
    --corpus "$LANGLIFT_DATA/corpus" --out "$OUT/causal-base" --resume
  keep score-causal-base score --base "$base" --text "$test" --sentences 200
  for seed in $SEEDS; do
    for method in seq_bn full; do
      local run=causal-$method-$seed adapted=(--base "$base" --adapter "$OUT/causal-$method-$seed") rate=3e-3
      [ "$method" = full ] && adapted=(--base "$OUT/$run") rate=5e-4
      keep "$run" adapt swh --objective causal --base "$base" --preset nano --method "$method" --lr "$rate" --steps 150 \
        --set validate_every=150 --set validation_examples=200 --seed "$seed" --data "$text" --out "$OUT/$run" --resume
      keep "score-$run" score "${adapted[@]}" --text "$test" --sentences 200
    done
  done
}

# task TASK NAME LANGUAGE OPTION...: few examples (EXAMPLES), three seeds.
task() {
  local task=$1 name=$2 language=$3
  shift 3
  keep "$task-$name-$language" task "$task" --base langlift-nano --data "$(examples "$task" "$language")" \
    --out "$OUT/$task-$name-$language" --seeds 1,2,3 --precision bf16 --resume \
    --train-examples "$EXAMPLES" "$@"
}

# examples TASK LANGUAGE: the folder of a task's labelled data.
examples() {
  local folder=$1
  [ "$folder" = topic ] && folder=sib200
  echo "$LANGLIFT_DATA/eval/$folder/$2"
}

graph_data() {
  local code
  case $1 in
    hau_Latn) code=ha ;;
    mlt_Latn) code=mt ;;
    swh_Latn) code=sw ;;
    uig_Arab) code=ug ;;
    yor_Latn) code=yo ;;
  esac
  keep "graph-data-$1" graph build "$1" --out "$OUT/graph-data-$1" \
    --source "conceptnet:$LANGLIFT_DATA/kg/conceptnet/$code.tsv.gz"
}

score_base() {
  keep "score-base-$1" score --base langlift-nano --sentences 50 --text "$LANGLIFT_DATA/eval/flores_text/$1.txt"
}

# adapters NAME LANGUAGE METHOD DATA OPTION...: three seeds, each scored on FLORES.
adapters() {
  local name=$1 language=$2 method=$3 data=$4
  shift 4
  for seed in $SEEDS; do
    local run="adapt-$name-$language-$seed"
    keep "$run" adapt "$language" --base langlift-nano --method "$method" --seed "$seed" --precision bf16 \
      --data "$data" --out "$OUT/$run" --resume "$@"
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
    graph) for language in uig_Arab mlt_Latn swh_Latn; do graph "$language"; done ;;
    objectives) for language in mlt_Latn swh_Latn; do objectives "$language"; done ;;
    mosa) for language in mlt_Latn swh_Latn; do mosa "$language"; done ;;
    uyghur)
      objectives uig_Arab
      knowledge topic uig_Arab
      ;;
    sentiment)
      for language in mlt_Latn swh_Latn; do knowledge sentiment "$language"; done
      EXAMPLES=500
      knowledge sentiment yor_Latn
      EXAMPLES=1000
      ;;
    ner)
      EXAMPLES=500
      for language in swh_Latn yor_Latn hau_Latn; do knowledge ner "$language"; done
      EXAMPLES=1000
      ;;
    full) for language in mlt_Latn swh_Latn; do full "$language"; done ;;
    causal) causal ;;
    *) target "$part" ;;
  esac
done
