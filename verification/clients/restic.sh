# restic: a backup that must come back.
set -euo pipefail
source "$CLIENTS/lib.sh"

export RESTIC_REPOSITORY=s3:$AWS_ENDPOINT_URL/restic-$RUN/backup RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=cache

init() { restic init; }
check restic: init init

init_twice() { fails_with already restic init; }
check restic: a second init is refused init_twice

backup() {
  real_tree tree
  head -c 40000000 /dev/urandom >tree/large
  restic backup tree
}
check restic: backup of a real tree backup

check_data() { restic check --read-data; }
check restic: check --read-data check_data

restore() {
  restic restore latest --target back
  diff -r tree back/tree
}
check restic: restore brings everything back restore

second() {
  some_files tree 5 | while read -r file; do echo changed >>"$file"; done
  restic backup tree
  local ids
  mapfile -t ids < <(restic snapshots --json | grep -o '"short_id":"[0-9a-f]*"' | cut -d '"' -f 4)
  [[ ${#ids[@]} == 2 ]]
  (($(restic diff "${ids[0]}" "${ids[1]}" | grep -c '^M') == 5))
}
check restic: a second backup differs where it should second

prune() {
  restic forget --keep-last 1 --prune
  restic check --read-data
  rm -r back
  restic restore latest --target back
  diff -r tree back/tree
}
check restic: forget and prune keep the last one whole prune
