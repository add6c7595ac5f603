compile nowhere.yaml -o $TMP/a
