# s3cmd: the old command line that many scripts still use. Its `signurl` is left out: it knows only the signatures of
# before 2014.
set -euo pipefail
source "$CLIENTS/lib.sh"

readonly bucket=s3://s3cmd-$RUN host=${AWS_ENDPOINT_URL#*://}
cat >config <<CONFIG
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = ${host%/}
host_bucket = ${host%/}
use_https = False
bucket_location = $AWS_REGION
multipart_chunk_size_mb = 5
CONFIG
s3() { command s3cmd --config config --no-progress "$@"; }

make_bucket() {
  s3 mb "$bucket"
  says "$bucket" s3 ls
}
check s3cmd: mb and ls make_bucket

put_get() {
  echo 'hello from s3cmd' >small
  s3 put small "$bucket/small"
  s3 get "$bucket/small" small.back
  cmp small small.back
  says "$(md5sum small | cut -d ' ' -f 1)" s3 info "$bucket/small"
}
check s3cmd: put, get and info put_get

large_file() {
  head -c 17000000 /dev/urandom >large
  s3 put large "$bucket/large"
  s3 get "$bucket/large" large.back
  cmp large large.back
}
check s3cmd: a file in parts large_file

odd_names() {
  for name in 'a b' 'a+b' 'ünï ☃' 'percent%41'; do
    cp small "$name"
    s3 put "$name" "$bucket/odd/$name"
    s3 get --force "$bucket/odd/$name" odd.back
    cmp small odd.back
  done
  [[ $(s3 ls "$bucket/odd/" | wc -l) == 4 ]]
}
check s3cmd: odd names odd_names

sync_tree() {
  real_tree tree
  s3 sync tree/ "$bucket/tree/" >/dev/null
  mkdir back
  s3 sync "$bucket/tree/" back/ >/dev/null
  diff -r tree back
}
check s3cmd: sync of a real tree there and back sync_tree

copy_move() {
  s3 cp "$bucket/small" "$bucket/copy"
  s3 mv "$bucket/copy" "$bucket/moved"
  s3 get "$bucket/moved" moved.back
  cmp small moved.back
  nothing_from s3 ls "$bucket/copy"
}
check s3cmd: cp and mv inside the store copy_move

remove() {
  s3 del "$bucket/small"
  s3 del --recursive --force "$bucket" >/dev/null
  nothing_from s3 ls --recursive "$bucket"
  s3 rb "$bucket"
}
check s3cmd: del and rb remove
