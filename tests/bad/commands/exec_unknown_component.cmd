exec $BUNDLE vae --input $TMP/file
