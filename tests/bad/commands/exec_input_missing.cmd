exec $BUNDLE transformer --input $TMP/nothing
