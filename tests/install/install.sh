#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What somebody who only wants to use crew goes through, each step a counted case:
#       install.sh SOURCE-ROOT BUILD-ROOT
# installs below a temporary DESTDIR and builds against that. CC and CXX name the compilers.
set -u
source=$1
build=$2
: "${CC:=cc}" "${CXX:=c++}"
passed=0
failed=0
skipped=0
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
cd "$scratch" || exit 2
dest=$scratch/dest
strict='-Wall -Wextra -Wpedantic -Werror'

# case_is NAME COMMAND...: status 77 skips, with the last line of output as the reason.
case_is() {
        name=$1
        shift
        "$@" >words 2>&1
        status=$?
        case $status in
        0)
                passed=$((passed + 1))
                ;;
        77)
                skipped=$((skipped + 1))
                printf '# skip: %s: %s\n' "$name" "$(tail -n 1 words)"
                ;;
        *)
                failed=$((failed + 1))
                printf 'FAILED: %s (status %s)\n' "$name" "$status"
                sed 's/^/  /' words
                printf '# fail: %s\n' "$name"
                ;;
        esac
}

# same WHAT WANTED GOT
same() {
        [ "$2" = "$3" ] && return 0
        printf '%s: wanted\n%s\ngot\n%s\n' "$1" "$2" "$3"
        return 1
}

squares='1
4
9
16
25'

installs() {
        meson install -C "$build" --no-rebuild --quiet --destdir "$dest" || return 1
        find dest \( -type f -o -type l \) | sed -e 's,^dest/,/,' -e 's,.*/\(libcrew\),\1,' \
                -e 's,.*/include/,include/,' -e 's,.*/pkgconfig/,pkgconfig/,' \
                -e 's,.*/bin/,bin/,' -e 's,.*/man/,man/,' \
                -e 's,.*/bash-completion/,bash-completion/,' | sort >got
        {
                echo bin/crew
                echo bash-completion/completions/crew.bash
                (cd "$source/lib" && find include -name '*.h')
                echo libcrew.a
                echo libcrew.so
                echo libcrew.so.0
                echo "libcrew.so.$version"
                echo pkgconfig/crew.pc
                for page in "$source"/docs/man/*; do
                        echo "man/man${page##*.}/${page##*/}"
                done
        } | sort >wanted
        same 'the installed files' "$(cat wanted)" "$(cat got)"
}

describes() {
        same version "$version" "$(pkg-config --modversion crew)" || return 1
        shared=$(pkg-config --libs crew)
        static=$(pkg-config --static --libs crew)
        case " $shared " in
        *uring* | *seccomp* | *pthread*)
                echo "a program would link what only the library needs: $shared"
                return 1
                ;;
        esac
        case " $static " in
        *" -luring "*) ;;
        *)
                echo "a static program would miss liburing: $static"
                return 1
                ;;
        esac
        if grep -qF -e "$scratch" -e "$source" -e "$build" "$pc"; then
                echo 'crew.pc names a path of this build:'
                cat "$pc"
                return 1
        fi
}

command_runs() {
        same "crew --version" "crew $version" "$("$dest$prefix/bin/crew" --version)"
}

# The README's program, as it stands there: what is tested is what a reader copies.
extract() {
        LC_ALL=C awk '/^```c$/ { inside = 1; next } /^```/ { inside = 0 } inside' \
                "$source/README.md" >squares.c
        grep -q crew_process_launch squares.c
}

# shellcheck disable=SC2086,SC2046
readme_shared() {
        extract || return 1
        $CC -std=gnu11 $strict squares.c $(pkg-config --cflags --libs crew) -o squares || return 1
        same squares "$squares" "$(./squares)"
}

# shellcheck disable=SC2086,SC2046
readme_static() {
        extract || return 1
        $CC -static squares.c $(pkg-config --static --cflags --libs crew) -o squares-static ||
                return 1
        if readelf -d squares-static | grep NEEDED; then
                return 1
        fi
        same squares "$squares" "$(env -u LD_LIBRARY_PATH ./squares-static)"
}

# Outside a system directory g++ sees in CREW_OPT a struct that is not filled in to its end.
# shellcheck disable=SC2086,SC2046
cplusplus() {
        $CXX -std=c++20 $strict -Wno-missing-field-initializers \
                "$source/tests/install/squares.cpp" $(pkg-config --cflags --libs crew) \
                -o squares-cpp || return 1
        same squares "$squares" "$(./squares-cpp)"
}

subproject() {
        extract || return 1
        mkdir -p parent/subprojects/crew || return 1
        for entry in lib tools tests docs meson.build meson_options.txt; do
                cp -R "$source/$entry" parent/subprojects/crew || return 1
        done
        cp squares.c parent || return 1
        cat >parent/meson.build <<END
project('parent', 'c')
executable('squares', 'squares.c', dependencies: dependency('crew'))
END
        meson setup --force-fallback-for=crew parent parent/build &&
                ninja -C parent/build squares || return 1
        if [ -e parent/build/subprojects/crew/tests ]; then
                echo 'a subproject brings its tests along'
                return 1
        fi
        same squares "$squares" "$(env -u LD_LIBRARY_PATH parent/build/squares)"
}

cmake_project() {
        if ! command -v cmake >/dev/null 2>&1; then
                echo 'cmake is not installed'
                return 77
        fi
        extract || return 1
        mkdir -p cmake || return 1
        cp squares.c cmake || return 1
        cat >cmake/CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.16)
project(squares C)
find_package(PkgConfig REQUIRED)
pkg_check_modules(CREW REQUIRED IMPORTED_TARGET crew)
add_executable(squares squares.c)
target_link_libraries(squares PRIVATE PkgConfig::CREW)
END
        cmake -S cmake -B cmake/build -DCMAKE_C_COMPILER="${CC%% *}" &&
                cmake --build cmake/build || return 1
        same squares "$squares" "$(cmake/build/squares)"
}

version=$(sed -n "s/^ *version: '\(.*\)',\$/\1/p" "$source/meson.build")
case_is 'meson install puts what belongs there, and nothing else' installs
pc=$(find "$dest" -name crew.pc)
prefix=$(sed -n 's/^prefix=//p' "$pc")
lib=${pc%/pkgconfig/crew.pc}
# As if DESTDIR were the prefix. A sysroot would move the system's own directories too.
mkdir pkgconfig
sed "s,^prefix=.*,prefix=$dest$prefix," "$pc" >pkgconfig/crew.pc
export PKG_CONFIG_PATH="$scratch/pkgconfig" LD_LIBRARY_PATH="$lib"
case_is 'crew.pc names what a program needs, and only there' describes
case_is 'the installed command runs' command_runs
case_is "the README's program works against the shared library" readme_shared
case_is "the README's program works as a static program" readme_static
case_is 'a C++20 program uses options, handles and messages in place' cplusplus
case_is "a meson project has it as a subproject" subproject
case_is 'a CMake project finds it through pkg-config' cmake_project

echo "# cases: passed=$passed failed=$failed skipped=$skipped"
[ "$failed" -eq 0 ]
