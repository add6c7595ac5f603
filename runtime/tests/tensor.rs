//! Tensors keep shape and elements in step, in memory and in files.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;

use half::{bf16, f16};
use ltxc_runtime::tensor::file::{self, FileReason};
use ltxc_runtime::tensor::{DType, Data, Tensor, TensorError};

fn refusal(bytes: &[u8]) -> FileReason {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors.safetensors");
    fs::write(&path, bytes).unwrap();
    file::read(&path).unwrap_err().reason
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn the_element_count_must_match() {
    let error = Tensor::new([2, 3], vec![0f32; 5]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the shape [2, 3] needs 6 elements, but 5 were given"
    );
}

#[test]
fn a_shape_that_overflows_is_refused() {
    let error = Tensor::new([usize::MAX, 2], Vec::<f32>::new()).unwrap_err();
    assert!(matches!(error, TensorError::TooLarge { .. }));
    let zero = Tensor::new([0, 7], Vec::<f32>::new()).unwrap();
    assert_eq!(zero.shape(), [0, 7]);
}

#[test]
fn reading_another_type_names_both() {
    let tensor = Tensor::new([1], vec![1i64]).unwrap();
    let error = tensor.values::<f32>().unwrap_err();
    assert_eq!(error.to_string(), "expected a tensor of F32, found I64");
    assert!(tensor.to_f32().is_err());
    assert_eq!(tensor.into_values::<i64>().unwrap(), [1]);
}

#[test]
fn every_type_survives_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.safetensors");
    let data: [Data; 7] = [
        vec![1.5f32, f32::NEG_INFINITY].into(),
        vec![f16::from_f32(0.5), f16::MAX].into(),
        vec![bf16::from_f32(3.0), bf16::MIN].into(),
        vec![i64::MIN, 7].into(),
        vec![i32::MAX, -7].into(),
        vec![0u8, 255].into(),
        vec![true, false].into(),
    ];
    let mut tensors = BTreeMap::from([
        ("a scalar".to_owned(), Tensor::new([], vec![2f32]).unwrap()),
        (
            "nothing".to_owned(),
            Tensor::new([0, 4], Vec::<bool>::new()).unwrap(),
        ),
    ]);
    for data in data {
        let name = data.dtype().name().to_owned();
        tensors.insert(name, Tensor::new([2, 1], data).unwrap());
    }
    assert_eq!(tensors.len(), DType::ALL.len() + 2);
    file::write(&path, &tensors).unwrap();
    file::write(&path, &tensors).unwrap();
    assert_eq!(file::read(&path).unwrap(), tensors);
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        1,
        "no temporary file stays"
    );
    safetensors::SafeTensors::deserialize(&fs::read(&path).unwrap()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_written_file_has_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
    file::write(&ours, &BTreeMap::new()).unwrap();
    fs::write(&plain, "").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(ours), mode(plain));
}

#[test]
fn writing_into_a_missing_folder_names_the_file() {
    let error = file::write("/nowhere/at/all".as_ref(), &BTreeMap::new()).unwrap_err();
    assert!(
        error.to_string().starts_with("/nowhere/at/all: "),
        "{error}"
    );
}

#[test]
fn hostile_files_are_refused() {
    let huge = u64::MAX;
    let cases: &[(&str, Vec<u8>)] = &[
        ("empty", vec![]),
        ("short", vec![1, 2, 3]),
        (
            "header longer than the file",
            u64::MAX.to_le_bytes().to_vec(),
        ),
        ("not JSON", with_header("{{{{", b"")),
        ("deep JSON", with_header(&"[".repeat(100_000), b"")),
        (
            "missing data",
            with_header(&entry("F32", "[4]", 0, 16), b"1234"),
        ),
        ("more data", with_header(&entry("U8", "[1]", 0, 1), b"12")),
        ("overlap", with_header(&entry("U8", "[1]", 1, 2), b"12")),
        ("backwards", with_header(&entry("U8", "[1]", 1, 0), b"1")),
        (
            "shape and size",
            with_header(&entry("F32", "[3]", 0, 4), b"1234"),
        ),
        (
            "shape overflow",
            with_header(&entry("F32", &format!("[{huge}, 8]"), 0, 4), b"1234"),
        ),
        (
            "end overflow",
            with_header(&entry("U8", &format!("[{huge}]"), 0, huge), b""),
        ),
    ];
    for (what, bytes) in cases {
        let reason = refusal(bytes);
        assert!(matches!(reason, FileReason::Header(_)), "{what}: {reason}");
    }
}

#[test]
fn an_unsupported_type_and_a_wrong_truth_value_are_named() {
    let reason = refusal(&with_header(&entry("F64", "[1]", 0, 8), &[0; 8]));
    assert!(
        reason.to_string().contains("`t` has the element type F64"),
        "{reason}"
    );
    let reason = refusal(&with_header(&entry("BOOL", "[1]", 0, 1), &[2]));
    assert!(matches!(reason, FileReason::NotBool { .. }), "{reason}");
}

#[test]
fn folders_and_giants_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let reason = file::read(folder.path()).unwrap_err().reason;
    assert!(matches!(reason, FileReason::NotAFile));
    let sparse = folder.path().join("sparse");
    fs::File::create(&sparse)
        .unwrap()
        .set_len(file::MAX_BYTES + 1)
        .unwrap();
    let reason = file::read(&sparse).unwrap_err().reason;
    assert!(matches!(reason, FileReason::TooLarge { .. }));
}

fn entry(dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
}

#[test]
fn pieces_along_an_axis_join_to_the_whole() {
    let whole = Tensor::new([2, 3, 2], (0..12).collect::<Vec<i64>>()).unwrap();
    let pieces = [(0, 1), (1, 2)].map(|(start, count)| whole.along(1, start, count).unwrap());
    assert_eq!(
        pieces[1].values::<i64>().unwrap(),
        [2, 3, 4, 5, 8, 9, 10, 11]
    );
    assert_eq!(Tensor::joined(1, &pieces), Ok(whole.clone()));
    for wrong in [
        whole.along(3, 0, 1),
        whole.along(1, 2, 2),
        Tensor::joined(0, &[] as &[Tensor]),
    ] {
        assert!(matches!(wrong, Err(TensorError::Axis { .. })), "{wrong:?}");
    }
    let floats = Tensor::new([2, 3, 2], vec![0.0f32; 12]).unwrap();
    assert!(Tensor::joined(1, &[whole, floats]).is_err());
}
