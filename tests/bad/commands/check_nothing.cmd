check $TMP/nothing.yaml
