# For the scripts of this folder, which source it: strict mode, the folder of real data, and finished results kept in OUT.
set -euo pipefail
: "${LANGLIFT_DATA:?must name the folder of real data}"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# keep NAME COMMAND...: run a langlift command with --json, unless its result exists.
keep() {
  local name=$1
  shift
  [ -s "$OUT/$name.json" ] && return
  langlift "$@" --json > "$OUT/$name.partial"
  mv "$OUT/$name.partial" "$OUT/$name.json"
}
