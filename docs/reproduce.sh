#!/usr/bin/env bash
# Computes every figure of docs/results.md and of langlift-nano's card: about 45 minutes on two cores with
# bf16. Finished runs are skipped, stopped ones resumed. Results land in OUT as one JSON object a file.
#
#   LANGLIFT_DATA=... docs/reproduce.sh [OUT]
set -euo pipefail
: "${LANGLIFT_DATA:?must name the folder of real data}"
OUT=${1:-runs/spine}
mkdir -p "$OUT"

# keep NAME COMMAND...: run the command with --json, unless its result is there.
keep() {
  local name=$1 status=0
  shift
  [ -s "$OUT/$name.json" ] && return
  langlift "$@" --json > "$OUT/$name.partial" || status=$?
  [ "$status" -eq 0 ] && mv "$OUT/$name.partial" "$OUT/$name.json"
}

# Languages the base was trained on: pseudo-perplexity, and topic classification by full fine-tuning.
for language in eng_Latn fra_Latn ind_Latn hau_Latn bul_Cyrl; do
  keep "topic-full-$language" task topic --base langlift-nano --method full --precision bf16 --lr 3e-4 \
    --data "$LANGLIFT_DATA/eval/sib200/$language" --out "$OUT/topic-full-$language" --seeds 1,2,3 --resume
done
for text in "$LANGLIFT_DATA"/eval/flores_text/*.txt; do
  language=$(basename "$text" .txt)
  case $language in
    eng_Latn|fra_Latn|spa_Latn|fin_Latn|est_Latn|hun_Latn|ind_Latn|bul_Cyrl|ell_Grek|tur_Latn|heb_Hebr|slk_Latn|lvs_Latn|ukr_Cyrl|rus_Cyrl|hau_Latn|som_Latn|amh_Ethi|zul_Latn|xho_Latn)
      keep "score-base-$language" score --base langlift-nano --text "$text" --sentences 50 ;;
  esac
done

# Languages it has never seen.
for language in mlt_Latn swh_Latn; do
  flores="$LANGLIFT_DATA/eval/flores_text/$language.txt"
  sib="$LANGLIFT_DATA/eval/sib200/$language"
  keep "score-base-$language" score --base langlift-nano --text "$flores" --sentences 100
  for method in seq_bn seq_bn_inv; do
    for seed in 1 2 3; do
      run="$OUT/adapt-$method-$language-$seed"
      keep "adapt-$method-$language-$seed" adapt "$language" --base langlift-nano --method "$method" \
        --data "$LANGLIFT_DATA/corpus/$language.txt" --seed "$seed" --precision bf16 --out "$run" --resume
      keep "score-$method-$language-$seed" score --base langlift-nano --adapter "$run" --text "$flores" --sentences 100
    done
  done
  keep "topic-task-$language" task topic --base langlift-nano --data "$sib" --out "$OUT/topic-task-$language" \
    --seeds 1,2,3 --precision bf16 --resume
  keep "topic-stacked-$language" task topic --base langlift-nano --data "$sib" --out "$OUT/topic-stacked-$language" \
    --language-adapter "$OUT/adapt-seq_bn-$language-1" --seeds 1,2,3 --precision bf16 --resume
  keep "topic-full-$language" task topic --base langlift-nano --method full --precision bf16 --lr 3e-4 \
    --data "$sib" --out "$OUT/topic-full-$language" --seeds 1,2,3 --resume
done
