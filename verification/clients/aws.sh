# The AWS command line: copying, mirroring, large files, presigned links.
set -euo pipefail
source "$CLIENTS/lib.sh"

readonly bucket=aws-$RUN large_bytes=$((200 * 1024 * 1024))

make_bucket() {
  aws s3 mb "s3://$bucket"
  says "$bucket" aws s3 ls
}
check aws: mb makes a bucket that ls shows make_bucket

mb_twice() {
  aws s3api create-bucket --bucket "$bucket" || fails_with BucketAlreadyOwnedByYou aws s3api create-bucket --bucket "$bucket"
}
check aws: a second mb of an own bucket is answered as AWS does mb_twice

small_file() {
  echo "hello from the command line" >small
  aws s3 cp small "s3://$bucket/small" --content-type text/x-test --metadata colour=blue
  aws s3 cp "s3://$bucket/small" small.back
  cmp small small.back
  aws s3api head-object --bucket "$bucket" --key small >head.json
  grep -q '"ContentType": "text/x-test"' head.json
  grep -q '"colour": "blue"' head.json
}
check aws: cp keeps content, type and metadata small_file

large_file() {
  head -c "$large_bytes" /dev/urandom >large
  aws s3 cp --no-progress large "s3://$bucket/large"
  aws s3 cp --no-progress "s3://$bucket/large" large.back
  cmp large large.back
  says '-[0-9]' aws s3api head-object --bucket "$bucket" --key large --query ETag
}
check aws: cp of 200 MB in parts, byte for byte large_file

part_of_large() {
  aws s3api get-object --bucket "$bucket" --key large --range bytes=150000000-150000999 part >/dev/null
  cmp part <(tail -c +150000001 large | head -c 1000)
}
check aws: a range from the middle of a large object part_of_large

copy_on_server() {
  aws s3 cp --no-progress "s3://$bucket/large" "s3://$bucket/large copy"
  aws s3 cp --no-progress "s3://$bucket/large copy" large.back
  cmp large large.back
}
check aws: cp of 200 MB inside the store copy_on_server

stream() {
  head -c 20000000 large | aws s3 cp - "s3://$bucket/streamed"
  aws s3 cp "s3://$bucket/streamed" - | cmp - <(head -c 20000000 large)
}
check aws: cp from and to a pipe stream

sync_tree() {
  real_tree tree
  aws s3 sync --only-show-errors tree "s3://$bucket/tree"
  aws s3 sync --only-show-errors "s3://$bucket/tree" tree.back
  diff -r tree tree.back
  [[ $(aws s3 ls --recursive "s3://$bucket/tree/" | wc -l) == $(find tree -type f | wc -l) ]]
}
check aws: sync of a real tree there and back sync_tree

sync_again() {
  nothing_from aws s3 sync --dryrun --size-only tree "s3://$bucket/tree"
  rm -r "$(find tree -mindepth 4 -maxdepth 4 -type d | sort | sed -n 1p)"
  some_files tree 3 | while read -r file; do echo changed >>"$file"; done
  aws s3 sync --only-show-errors --delete tree "s3://$bucket/tree"
  rm -r tree.back
  aws s3 sync --only-show-errors "s3://$bucket/tree" tree.back
  diff -r tree tree.back
}
check aws: sync carries changes and deletions only sync_again

odd_names() {
  for name in 'a b' 'a+b' 'a%20b' 'ünïcødé ☃' "quote's" 'semi;colon' 'x/./y' '~tilde' 'eq=and&' 'hash#tag' 'question?'; do
    echo "$name" | aws s3 cp - "s3://$bucket/odd/$name"
    [[ $(aws s3 cp "s3://$bucket/odd/$name" -) == "$name" ]]
  done
  [[ $(aws s3 ls "s3://$bucket/odd/" | wc -l) == 11 ]]
}
check aws: odd names come back unchanged odd_names

move() {
  aws s3 mv "s3://$bucket/small" "s3://$bucket/moved"
  fails_with 404 aws s3 cp "s3://$bucket/small" -
  [[ $(aws s3 cp "s3://$bucket/moved" -) == "$(cat small)" ]]
}
check aws: mv move

presign() {
  curl -sf "$(aws s3 presign "s3://$bucket/moved" --expires-in 60)" | cmp - small
  [[ $(curl -s -o /dev/null -w '%{http_code}' "$AWS_ENDPOINT_URL/$bucket/moved") == 403 ]]
}
check aws: a presigned link works, the plain one does not presign

conditional() {
  aws s3api put-object --bucket "$bucket" --key once --body small --if-none-match '*' >/dev/null
  fails_with PreconditionFailed aws s3api put-object --bucket "$bucket" --key once --body small --if-none-match '*'
}
check aws: put-object --if-none-match creates once conditional

not_empty() { fails_with BucketNotEmpty aws s3 rb "s3://$bucket"; }
check aws: rb refuses a bucket with objects not_empty

remove() {
  aws s3 rm --recursive --only-show-errors "s3://$bucket"
  nothing_from aws s3 ls --recursive "s3://$bucket"
  aws s3 rb "s3://$bucket"
  fails_with NoSuchBucket aws s3 ls "s3://$bucket"
}
check aws: rm and rb leave nothing remove
