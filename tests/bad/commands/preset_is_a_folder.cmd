compile $TMP/folder -o $TMP/a
