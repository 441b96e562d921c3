#!/usr/bin/env bash
# The whole chain on a laptop: raw posts -> documents -> tokens -> continued pretraining -> fine-tuning in two steps ->
# preference optimisation -> a Hugging Face directory -> evaluation -> a report. On two cores with 8 GB six minutes where the
# processor has instructions for bf16, else a quarter of an hour, downloads included. Run it again: what is done is not done twice.
#
#   bash examples/quickstart/run.sh                  SmolLM2-135M and the sample data of this folder
#   bash examples/quickstart/run.sh --model DIR      another Hugging Face directory, such as Qwen2.5-0.5B: of 14 layers or
#                                                    more, with <|im_end|> in its vocabulary and a chat template (else
#                                                    change `parallel` in the files of this folder, and export.yaml)
#   bash examples/quickstart/run.sh --data DIR       another corpus, laid out as data/ is (tools/lay_out_shared_data.py)
#   bash examples/quickstart/run.sh --work DIR       where everything is written (default: work/ beside this file)
#   bash examples/quickstart/run.sh --dry-run        what would run, and why; other arguments go to redone pipeline too
#
# PYTHON chooses the interpreter (3.10 or later), REDONE_VENV the environment's folder (default: .venv; `none` takes the
# environment that is active as it is, as in a container).
set -euo pipefail
begin=$(date +%s)

fail() { echo "run.sh: $*" >&2; exit 2; }
folder() { (cd "$1" 2>/dev/null && pwd) || fail "$1: no such folder"; }

here=$(folder "$(dirname "${BASH_SOURCE[0]}")")
model='' data=$here/data work=$here/work arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --model) model=$(folder "${2:?--model needs a folder}"); shift 2 ;;
    --data) data=$(folder "${2:?--data needs a folder}"); shift 2 ;;
    --work) mkdir -p "${2:?--work needs a folder}"; work=$(folder "$2"); shift 2 ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    *) arguments+=("$1"); shift ;;
  esac
done
cd "$here/../.."

source tools/environment.sh
use_environment quickstart

mkdir -p "$work"
echo "== the model to begin with, and the data, in $work"
if [ -n "$model" ]; then
  [ -f "$model/config.json" ] || fail "$model has no config.json: it is no Hugging Face directory"
else
  python "$here/get_model.py" --to "$work/downloads/smollm2-135m-instruct"
  model=$work/downloads/smollm2-135m-instruct
fi
ln -sfn "$model" "$work/model"
ln -sfn "$data" "$work/data"
python "$here/divide_data.py" --data "$work/data" --to "$work/divided"

echo "== the pipeline: what each stage does is in $here/pipeline.yaml, what it said in $work/logs"
redone pipeline --config "$here/pipeline.yaml" "work_dir=$work" ${arguments[@]+"${arguments[@]}"}
[ -f "$work/report/report.html" ] || exit 0 # --dry-run or --until

echo "== what came out, after $(($(date +%s) - begin)) s"
python "$here/show_answers.py" --work "$work"
cat "$work/evaluation/evaluation.md"
echo
echo "report:  $work/report/report.html"
echo "model:   $work/exports/dpo (loads with transformers, vLLM and the like)"
echo "ask it:  python $here/ask.py --model $work/exports/dpo 'A question'"
