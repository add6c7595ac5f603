compile presets/shapes.yaml -o $TMP/a --set =3
