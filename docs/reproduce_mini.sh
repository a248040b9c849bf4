#!/usr/bin/env bash
# Computes the figures of langlift-mini's card and of the pages about it. Finished runs are skipped and interrupted ones
# resumed. Results are written to OUT, one JSON object per file; each study is a separate folder.
#
#   LANGLIFT_DATA=... docs/reproduce_mini.sh OUT [PART...]
#   parts: card    pseudo-perplexity of langlift-mini and langlift-nano on FLORES-200 (20 languages of its masked training,
#                  and the ten of the study)
#          gate    topics in languages of its masked training, compared with the original encoder; ENCODER is its folder
#                  (tools/make_mini.sh writes it to OUT/encoder)
#          ten     docs/studies/mini-ten-languages.yaml
#          full    docs/studies/mini-ten-full.yaml
#          tasks   docs/studies/mini-tasks.yaml
#          few     docs/studies/mini-few-labels.yaml
#          tags    docs/studies/mini-few-tags.yaml
#          rates   the search of learning rates and steps for 100 labels in Hausa, Xhosa and Zulu
#          methods  docs/studies/mini-methods.yaml
#          longer  docs/studies/mini-longer.yaml
#          fusion  docs/studies/mini-fusion.yaml, mini-fusion-size.yaml and mini-graph-objectives.yaml
#          alignment  docs/studies/mini-alignment.yaml, mini-alignment-adapted.yaml and mini-alignment-contrast.yaml
#          contrast  100 labelled topics, and entities, in Xhosa and Zulu, on which the preset's contrast was chosen
source "$(dirname "${BASH_SOURCE[0]}")/reproduce_common.sh"
OUT=${1:?name a folder for the results}
shift
PARTS=${*:-card gate ten full tasks few tags rates methods longer fusion alignment contrast}
BASE_LANGUAGES="eng_Latn fra_Latn spa_Latn fin_Latn est_Latn hun_Latn ind_Latn bul_Cyrl ell_Grek tur_Latn heb_Hebr slk_Latn \
  lvs_Latn ukr_Cyrl rus_Cyrl hau_Latn som_Latn amh_Ethi zul_Latn xho_Latn"
mkdir -p "$OUT"

card() {
  for language in $BASE_LANGUAGES mlt_Latn yor_Latn ibo_Latn sna_Latn kab_Latn swh_Latn uig_Arab cym_Latn gla_Latn; do
    for base in langlift-mini langlift-nano; do
      keep "score-$base-$language" score --base "$base" --variant within_word_l2r --sentences 25 --precision auto \
        --text "$LANGLIFT_DATA/eval/flores_text/$language.txt"
    done
  done
}

gate() {
  for language in fin_Latn zul_Latn hau_Latn eng_Latn; do
    for name in encoder langlift-mini; do
      local base=$name
      [ "$name" = encoder ] && base=${ENCODER:?name the encoder as it came}
      keep "topic-$name-$language" task topic --base "$base" --preset mini --data "$LANGLIFT_DATA/eval/sib200/$language" \
        --set fit_head=false --out "$OUT/topic-$name-$language" --seeds 1,2,3 --resume
    done
  done
}

contrast() {
  local few=(--base langlift-mini --resume --seeds 1,2,3 --epochs 8 --set train_examples=100 --set validation_examples=300)
  for language in xho_Latn zul_Latn; do
    local topic=(task topic "${few[@]}" --data "$LANGLIFT_DATA/eval/sib200/$language")
    local ner=(task ner "${few[@]}" --data "$LANGLIFT_DATA/eval/ner/$language")
    keep "few-$language-alone" "${topic[@]}" --out "$OUT/few-$language-alone"
    keep "ner-$language-alone" "${ner[@]}" --out "$OUT/ner-$language-alone"
    for weight in 0 0.3 1; do
      local adapter="$OUT/adapt-$language-contrast-$weight"
      keep "adapt-$language-contrast-$weight" adapt "$language" --base langlift-mini --resume --out "$adapter" \
        --data "$LANGLIFT_DATA/corpus/$language.txt" --set "contrast=$weight"
      keep "few-$language-contrast-$weight" "${topic[@]}" --language-adapter "$adapter" \
        --out "$OUT/few-$language-contrast-$weight"
      keep "ner-$language-contrast-$weight" "${ner[@]}" --language-adapter "$adapter" \
        --out "$OUT/ner-$language-contrast-$weight"
    done
  done
}

rates() {
  local few=(--base langlift-mini --train-examples 100 --resume)
  for language in hau_Latn xho_Latn; do
    local ner=(task ner "${few[@]}" --data "$LANGLIFT_DATA/eval/ner/$language" --set validation_examples=100 --seeds 1,2)
    for run in 1e-3-8 3e-3-8 3e-3-16 1e-3-30; do
      keep "ner-$language-alone-$run" "${ner[@]}" --lr "${run%-*}" --epochs "${run##*-}" --out "$OUT/ner-$language-alone-$run"
    done
  done
  local ner=(task ner "${few[@]}" --data "$LANGLIFT_DATA/eval/ner/hau_Latn" --set validation_examples=100 --method full)
  for rate in 1e-4 2e-4 5e-4 1e-3; do
    keep "ner-hau_Latn-full-$rate-8" "${ner[@]}" --lr "$rate" --epochs 8 --seeds 1,2 --out "$OUT/ner-hau_Latn-full-$rate-8"
  done
  for rate in 2e-4 5e-4; do
    keep "ner-hau_Latn-full-$rate" "${ner[@]}" --lr "$rate" --seeds 1 --out "$OUT/ner-hau_Latn-full-$rate"
  done
  for epochs in 8 30; do
    keep "topic-zul_Latn-$epochs" task topic "${few[@]}" --data "$LANGLIFT_DATA/eval/sib200/zul_Latn" \
      --epochs "$epochs" --seeds 1,2,3 --out "$OUT/topic-zul_Latn-$epochs"
  done
}

for part in $PARTS; do
  case $part in
    card) card ;;
    gate) gate ;;
    ten) langlift study run "$HERE/studies/mini-ten-languages.yaml" --out "$OUT/mini-ten" ;;
    full) langlift study run "$HERE/studies/mini-ten-full.yaml" --out "$OUT/mini-ten-full" ;;
    tasks) langlift study run "$HERE/studies/mini-tasks.yaml" --out "$OUT/mini-tasks" ;;
    contrast) contrast ;;
    few) langlift study run "$HERE/studies/mini-few-labels.yaml" --out "$OUT/mini-few-labels" ;;
    tags) langlift study run "$HERE/studies/mini-few-tags.yaml" --out "$OUT/mini-few-tags" ;;
    rates) rates ;;
    longer) langlift study run "$HERE/studies/mini-longer.yaml" --out "$OUT/mini-longer" ;;
    methods) langlift study run "$HERE/studies/mini-methods.yaml" --out "$OUT/mini-methods" ;;
    fusion)
      for study in mini-fusion mini-fusion-size mini-graph-objectives; do
        langlift study run "$HERE/studies/$study.yaml" --out "$OUT/$study"
      done
      ;;
    alignment)
      for study in mini-alignment mini-alignment-adapted mini-alignment-contrast; do
        langlift study run "$HERE/studies/$study.yaml" --out "$OUT/$study"
      done
      ;;
    *) echo "no such part: $part" >&2; exit 2 ;;
  esac
done
