check $TMP/large.yaml
