# SPDX-License-Identifier: Apache-2.0
# Builds under build/.
# set_up DIR COMPILER OPTION...: anew when anything of that differs from the last time.
set_up()
{
    dir=build/$1
    compiler=$2
    shift 2
    wanted="$(meson --version) $compiler $*"
    if [ "$(cat "$dir/dev-options" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$dir"
        CC=$compiler CXX=$(echo "$compiler" | sed 's/gcc/g++/; s/clang/clang++/') \
            meson setup "$dir" "$@" || return
        echo "$wanted" >"$dir/dev-options"
    fi
}

build() # the same, and all of it built
{
    set_up "$@" && ninja -C "build/$1"
}
