#!/bin/sh
# Every disk of the local cloud has a file system already: it is a folder.
[ -e "$1" ] || exit 2
echo "$1: TYPE=\"folder\""
