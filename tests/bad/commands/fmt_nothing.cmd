fmt $TMP/nothing.yaml
