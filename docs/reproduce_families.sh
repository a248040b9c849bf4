#!/usr/bin/env bash
# Computes the figures of docs/results-nano.md on language families, vocabularies, tags and trees. Finished runs are skipped
# and interrupted ones resumed.
#
#   LANGLIFT_DATA=... docs/reproduce_families.sh OUT [PART...]
#   parts: corpora uralic alpha treebanks full_treebanks bantu unseen_script
#
# Run corpora first. Other parts can then run in parallel, one process per part, each with its own cores. All except
# unseen_script are studies (docs/studies/nano-*.yaml): `langlift report OUT/uralic --out uralic.html` shows the results.
# unseen_script writes one JSON object per file to OUT.
source "$(dirname "${BASH_SOURCE[0]}")/reproduce_common.sh"
OUT=${1:?name a folder for the results}
shift
PARTS=${*:-corpora uralic alpha treebanks full_treebanks bantu unseen_script}
export CORPORA=$OUT/corpora
mkdir -p "$CORPORA"

# The Uralic corpora; for Finnish, Estonian and Hungarian the tenth that langlift-nano has not seen.
corpora() {
  [ -d "$OUT/reserved" ] ||
    python "$HERE/examples/reserved_text.py" "$LANGLIFT_DATA/corpus" "$OUT/reserved" fin_Latn est_Latn hun_Latn
  for language in sme_Latn myv_Cyrl mdf_Cyrl kpv_Cyrl fin_Latn est_Latn hun_Latn; do
    local file=$LANGLIFT_DATA/corpus/$language.txt
    [ -f "$OUT/reserved/$language.txt" ] && file=$OUT/reserved/$language.txt
    keep "corpus-$language" corpus build "$language" --source "file:$file" --out "$CORPORA/$language"
  done
}

# A variant of langlift-nano that has never seen Amharic or its script: as it is, with new pieces, with a new vocabulary.
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

# amharic NAME MODEL: scores and topics before and after training on Amharic text, three seeds.
amharic() {
  local name=$1 model=$2 run
  judged "amharic-$name-untrained" "$model" 1,2,3
  for seed in 1 2 3; do
    run=amharic-$name-$seed
    keep "$run" adapt amh_Ethi --base "$model" --preset nano --method full --lr 5e-4 --steps 200 --seed "$seed" \
      --data "$LANGLIFT_DATA/corpus/amh_Ethi.txt" --out "$OUT/$run" --resume
    judged "$run" "$OUT/$run" "$seed"
  done
}

# Moksha's parsers on Komi, another language they were not trained on.
komi() {
  [ -s "$OUT/komi.jsonl" ] && return
  local treebanks=$LANGLIFT_DATA/eval/ud
  python "$HERE/examples/other_treebank.py" "$treebanks/Komi_Zyrian-Lattice" \
    "$treebanks/Hungarian-Szeged,$treebanks/North_Sami-Giella,$treebanks/Erzya-JR" \
    "$OUT"/treebanks/runs/task-dependencies-*mdf_Cyrl* > "$OUT/komi.partial"
  mv "$OUT/komi.partial" "$OUT/komi.jsonl"
}

judged() {
  local name=$1 model=$2 seeds=$3
  keep "score-$name" score --base "$model" --variant within_word_l2r --sentences 50 \
    --text "$LANGLIFT_DATA/eval/flores_text/amh_Ethi.txt"
  keep "topic-$name" task topic --base "$model" --preset nano --method full --epochs 6 --seeds "$seeds" \
    --data "$LANGLIFT_DATA/eval/sib200/amh_Ethi" --out "$OUT/topic-$name" --resume
}

for part in $PARTS; do
  case $part in
    corpora | unseen_script) "$part" ;;
    uralic | bantu) langlift study run "$HERE/studies/nano-$part.yaml" --out "$OUT/$part" ;;
    alpha | full_treebanks) langlift study run "$HERE/studies/nano-uralic-${part/_/-}.yaml" --out "$OUT/$part" ;;
    treebanks)
      langlift study run "$HERE/studies/nano-uralic-treebanks.yaml" --out "$OUT/treebanks"
      komi
      ;;
    *)
      echo "unknown part $part" >&2
      exit 2
      ;;
  esac
done
