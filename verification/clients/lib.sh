# shellcheck shell=bash
# What the suites in shell share. Each check is a function, run in a shell of its own where every error ends it:
# so one command per line, for `set -e` overlooks what fails on the left of an `&&`.

# check WORDS... FUNCTION: runs the function and prints PASS or FAIL with the words.
check() {
  local name="${*:1:$#-1}" function=${!#} status
  set +e
  (
    set -euxo pipefail
    "$function"
  ) >check.log 2>&1
  status=$?
  set -e
  if ((status == 0)); then
    echo "PASS $name"
  else
    echo "FAIL $name"
    tail -n 12 check.log | cut -c 1-300 | sed 's/^/    /'
  fi
}

# The command must fail, and say these words.
fails_with() {
  local words=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "it succeeded: $output"
    return 1
  fi
  grep -q "$words" <<<"$output" || { echo "$output" && return 1; }
}

# The command must succeed and say these words.
says() {
  local words=$1 output
  shift
  output=$("$@")
  grep -q -- "$words" <<<"$output"
}

# The command must succeed and print nothing.
nothing_from() {
  local output
  output=$("$@")
  [[ -z $output ]]
}

# some_files FOLDER COUNT: the same ones each time.
some_files() {
  find "$1" -type f | sort | sed -n "1,$2p"
}

# real_tree FOLDER: copies some hundreds of real files of all sizes, deep and flat, from what every Debian has.
real_tree() {
  mkdir -p "$1"
  find /usr/share/doc /usr/share/perl /usr/share/zoneinfo -type f -size -1024k 2>/dev/null | sort >all.txt
  awk -v step="$(($(wc -l <all.txt) / 700 + 1))" 'NR % step == 0' all.txt >some.txt
  tar -cf - --files-from some.txt 2>/dev/null | tar -xf - -C "$1"
  (($(find "$1" -type f | wc -l) >= 500))
}
