check graphs/ltxv/transformer.yaml --config $TMP/file
