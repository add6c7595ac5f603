compile ltxv -o $TMP/a
