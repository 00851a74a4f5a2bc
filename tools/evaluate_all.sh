#!/usr/bin/env bash
# All evaluations of docs/evaluations.md: bash tools/evaluate_all.sh DATA OUT [PAGE]
#
# DATA holds lfw_dev, cfp_dev and video_frames_dev (folders, or .zip files of them) and
# five_people.txt. OUT gets JSON, Markdown and plots of every evaluation, and what was found in the
# pictures, which a second run does not search again. PAGE (default: docs/evaluations.md) gets the
# tables between its markers, and the plots beside it. About 10 minutes on two cores, a few more
# where dlib's faces are not in OUT yet.
set -euo pipefail
data=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."
page=${3:-docs/evaluations.md}

folder() { # NAME: where its pictures are, unpacked once
    if [ -d "$data/$1" ]; then
        echo "$data/$1"
        return
    fi
    if [ ! -d "$out/data/$1" ]; then
        mkdir -p "$out/data/$1"
        python - "$data/$1.zip" "$out/data/$1" <<'PY'
import sys, zipfile
zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])
PY
    fi
    echo "$out/data/$1"
}

evaluate() { # NAME CACHE KIND CONFIG ARGUMENTS…
    local name=$1 cache=$2 kind=$3 config=$4
    shift 4
    local started=$SECONDS
    jetson-face eval "$kind" -c "configs/$config.yaml" --set backend.type=onnxruntime \
        --set backend.threads=1 --set embedder.precision=fp32 --cache "$out/cache-$cache" "$@" \
        --json "$out/$name.json" --markdown "$out/$name.md" --plots "$out/$name" \
        >"$out/$name.txt" 2>"$out/$name.log" || {
        echo "$name failed:" >&2
        tail -n 5 "$out/$name.log" >&2
        return 1
    }
    echo "$name: $((SECONDS - started)) s"
}

lfw=$(folder lfw_dev)
cfp=$(folder cfp_dev)
video=$(folder video_frames_dev)
main=mtcnn_squeezenet

pictures() {
    evaluate verification_lfw a verification $main --pairs "$lfw/pairs.txt" --images "$lfw/images"
    evaluate identification_lfw a identification $main --images "$lfw/images" \
        --strangers 0.1 --enrol-most
    evaluate five_people a five-people $main --people "$data/five_people.txt" \
        --images "$lfw/images"
    evaluate sensitivity a sensitivity $main --pairs "$lfw/pairs.txt" --images "$lfw/images" \
        --limit "${PAIRS:-60}"
}

videos() {
    evaluate video b video $main --images "$video"
    evaluate calibration b calibration $main --images "$video"
    evaluate calibration_siamese b calibration siamese_logistic --images "$video"
    evaluate verification_cfp_fp b verification $main --pairs "$cfp/pairs_FP.tsv" \
        --images "$cfp/images"
    evaluate verification_cfp_ff b verification $main --pairs "$cfp/pairs_FF.tsv" \
        --images "$cfp/images"
    evaluate identification_cfp b identification $main --images "$cfp/images" \
        --each-picture --enrol-most
    # last: dlib takes half of the whole time, and what it found is kept
    evaluate calibration_dlib b calibration dlib_knn --images "$video"
}

pictures &
first=$!
videos || { wait $first; exit 1; }
wait $first
python tools/evaluations_page.py "$out" "$page"
