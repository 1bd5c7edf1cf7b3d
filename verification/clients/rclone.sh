# rclone: mirroring a tree, and proving it with `check`.
set -euo pipefail
source "$CLIENTS/lib.sh"

export RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Other RCLONE_CONFIG_STORE_ENV_AUTH=true
export RCLONE_CONFIG_STORE_ENDPOINT=$AWS_ENDPOINT_URL RCLONE_CONFIG_STORE_REGION=$AWS_REGION RCLONE_CONFIG=none.conf
export RCLONE_RETRIES=1
readonly remote=store:rclone-$RUN

make_bucket() {
  rclone mkdir "$remote"
  says "rclone-$RUN" rclone lsd store:
}
check rclone: mkdir make_bucket

sync_tree() {
  real_tree tree
  rclone sync tree "$remote/tree"
  rclone check tree "$remote/tree"
}
check rclone: sync of a real tree, and check sync_tree

download() {
  rclone check --download tree "$remote/tree"
  rclone copy "$remote/tree" back
  diff -r tree back
}
check rclone: check --download and copy back download

sync_again() {
  some_files tree 5 | while read -r file; do echo changed >>"$file"; done
  rm "$(some_files tree 1)"
  rclone sync tree "$remote/tree"
  rclone check tree "$remote/tree"
  [[ $(rclone size --json "$remote/tree") == $(rclone size --json tree) ]]
}
check rclone: sync carries changes and deletions sync_again

large_file() {
  head -c 30000000 /dev/urandom >large
  rclone copy --s3-upload-cutoff 5Mi --s3-chunk-size 5Mi large "$remote"
  rclone check --download --include large . "$remote"
  rclone cat --offset 12345678 --count 1000 "$remote/large" | cmp - <(tail -c +12345679 large | head -c 1000)
}
check rclone: a file in parts, and a range of it large_file

stream() {
  head -c 12000000 large | rclone rcat "$remote/streamed"
  rclone cat "$remote/streamed" | cmp - <(head -c 12000000 large)
}
check rclone: rcat and cat stream

move() {
  rclone moveto "$remote/streamed" "$remote/moved/there"
  [[ $(rclone lsf "$remote/moved/") == there ]]
  nothing_from rclone lsf --files-only --include streamed "$remote"
}
check rclone: moveto inside the store move

modified() {
  touch -d '2001-02-03 04:05:06 UTC' dated
  rclone copy dated "$remote"
  rclone copy "$remote/dated" dated.back
  [[ $(stat -c %Y dated.back/dated) == $(stat -c %Y dated) ]]
}
check rclone: modification times are kept modified

purge() {
  rclone purge "$remote"
  rclone lsd store: >buckets
  ! grep -q "rclone-$RUN" buckets
}
check rclone: purge purge
