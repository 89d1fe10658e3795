#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The rules of the tree that a compiler does not check, each a counted case:
#       tidy.sh SOURCE-ROOT LIBCREW.SO LIBCREW.A
# CC and CXX name the compilers.
set -u
cd "$1" || exit 2
library=$2
archive=$3
: "${CC:=cc}" "${CXX:=c++}"
passed=0
failed=0
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT

# case_is NAME COMMAND...: what the command prints is what is wrong.
case_is() {
        name=$1
        shift
        "$@" >"$scratch/words" 2>&1
        status=$?
        if [ ! -s "$scratch/words" ] && [ $status -eq 0 ]; then
                passed=$((passed + 1))
                return
        fi
        failed=$((failed + 1))
        printf 'FAILED: %s (status %s)\n' "$name" "$status"
        sed 's/^/  /' "$scratch/words"
        printf '# fail: %s\n' "$name"
}

sources() {
        find "$@" -type f \( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) | sort
}

includes() {
        sources lib tools | while read -r file; do
                awk '
                function rank(folder) {
                        if (folder == "base") return 1
                        if (folder == "kernel") return 2
                        if (folder == "status") return 3
                        if (folder ~ /^(queue|pipe|sync|sandbox)$/) return 4
                        if (folder == "event") return 5
                        if (folder == "process") return 6
                        if (folder == "pool") return 7
                        return 0
                }
                function allowed(own, other) {
                        if (tool)
                                return rank(other) || other == "crew"
                        return other == own || (rank(other) && rank(other) < rank(own))
                }
                BEGIN {
                        FILENAME = ARGV[1]
                        split(FILENAME, part, "/")
                        tool = part[1] == "tools"
                        public = part[2] == "include"
                        own = tool ? "tools" : part[2]
                        if (!tool && !public && !rank(own))
                                print FILENAME ": lib/" own " has no place in the order of layers"
                }
                /^[ \t]*#[ \t]*include[ \t]*"/ {
                        split($0, quoted, "\"")
                        if (index(quoted[2], "..")) {
                                print FILENAME ":" FNR ": includes through .."
                                next
                        }
                        n = split(quoted[2], part, "/")
                        if (n == 1 && !public)
                                next
                        if (public)
                                print FILENAME ":" FNR ": a public header includes an internal one"
                        else if (!allowed(own, part[1]))
                                print FILENAME ":" FNR ": " own " may not include " quoted[2]
                }' "$file"
        done
}

spdx() {
        { sources lib tools tests docs; find lib tools tests docs .ci -type f -perm -u+x; } |
                sort -u | while read -r file; do
                head -n 2 "$file" | grep -q 'SPDX-License-Identifier: MIT' ||
                        echo "$file: no SPDX line at its top"
        done
}

file_length() {
        sources lib tools tests docs | while read -r file; do
                lines=$(wc -l <"$file")
                [ "$lines" -le 500 ] || echo "$file: $lines lines, more than 500"
        done
}

# Relies on the tree's format: the braces of a function's body stand in the first column.
function_length() {
        sources lib tools | while read -r file; do
                awk '
                $0 == "{" { begin = FNR }
                /^}/ && begin {
                        if (FNR - begin + 1 > 70)
                                print FILENAME ":" begin ": a function of " FNR - begin + 1 " lines"
                        begin = 0
                }' "$file"
        done
}

declared() {
        cat lib/include/crew/*.h | awk '
                { text = text $0 "\n" }
                END {
                        gsub(/\\\n/, " ", text)
                        n = split(text, line, "\n")
                        text = ""
                        for (i = 1; i <= n; i++)
                                if (line[i] !~ /^[ \t]*#/)
                                        text = text " " line[i]
                        gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, " ", text)
                        n = split(text, chunk, "CREW_PUBLIC")
                        for (i = 2; i <= n; i++)
                                if (match(chunk[i], /crew_[a-z0-9_]+ *\(/)) {
                                        name = substr(chunk[i], RSTART, RLENGTH)
                                        sub(/ *\($/, "", name)
                                        print name
                                }
                }' | sort -u
}

exports() {
        declared >"$scratch/declared"
        nm -D -g --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
                sort -u >"$scratch/exported"
        [ -s "$scratch/declared" ] || echo "no declarations found in lib/include/crew"
        comm -23 "$scratch/declared" "$scratch/exported" | sed 's/$/: declared, not exported/'
        comm -13 "$scratch/declared" "$scratch/exported" | sed 's/$/: exported, not declared/'
}

versions() {
        nm -D -g --defined-only "$library" |
                awk '$2 != "A" && $3 !~ /@@CREW_0$/ { print $3 ": exported, but not of CREW_0" }'
        readelf -d "$library" | awk '
                /SONAME/ { name = $NF }
                END { if (name != "[libcrew.so.0]") print "the soname is " name }'
}

# Hidden or not, a global name of the archive is one that a static program cannot use itself.
archive_names() {
        declared >"$scratch/declared"
        nm -g --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort -u >"$scratch/global"
        comm -23 "$scratch/declared" "$scratch/global" | sed 's/$/: declared, not in the archive/'
        comm -13 "$scratch/declared" "$scratch/global" | grep -v '^crew__' |
                sed 's/$/: global in the archive; internal names begin with crew__/'
        true
}

# The same through the compiler that is given: headers_alone LANGUAGE COMMAND...
headers_alone() {
        language=$1
        shift
        for header in lib/include/crew/*.h; do
                printf '#include <crew/%s>\n' "${header##*/}" |
                        "$@" -fsyntax-only -Wall -Wextra -Wpedantic -Werror -Ilib/include \
                                -x "$language" - || echo "$header: does not compile alone"
        done
}

left_open() {
        grep -rnE 'TODO|FIXME|XXX' lib tools
        true
}

case_is 'includes point down the layers' includes
case_is 'every source has its SPDX line' spdx
case_is 'no file is longer than 500 lines' file_length
case_is 'no function is longer than 70 lines' function_length
case_is 'what the headers declare is what the library exports' exports
case_is 'every exported name has its version, and the library its soname' versions
case_is 'the static library has no global names but crew_ and crew__' archive_names
# The compilers may be several words: a launcher, a flag.
# shellcheck disable=SC2086
case_is 'every public header compiles alone as C11' headers_alone c $CC -std=c11
# shellcheck disable=SC2086
case_is 'every public header compiles alone as C++20' headers_alone c++ $CXX -std=c++20
case_is 'nothing is left open in lib and tools' left_open

echo "# cases: passed=$passed failed=$failed skipped=0"
[ "$failed" -eq 0 ]
