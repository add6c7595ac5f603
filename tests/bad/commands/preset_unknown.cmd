compile shape -o $TMP/a
