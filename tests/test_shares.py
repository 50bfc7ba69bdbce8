"""A profile's rows added up, and Amdahl's law, against figures worked out by hand."""

import pytest

from vitquant import shares, wording


def rows(
    variant: str, attention_s: float, mlp_s: float, norm_s: float, wall_s: float, linear: str
) -> list[dict]:
    quantizing = 0.1 * mlp_s if linear.startswith("quantized") else None
    layers = [
        ("blocks.0.attn.qkv", "attention", 0, True, attention_s, None),
        ("blocks.1.mlp.fc1", "MLP", 1, True, mlp_s, quantizing),
        ("norm", "norm", None, False, norm_s, None),
    ]
    whole = attention_s + mlp_s + norm_s
    operators = [(linear, attention_s + mlp_s), ("aten::native_layer_norm", norm_s)]
    return [
        {
            "variant": variant,
            "level": "pass",
            "name": "forward pass",
            "wall_s": wall_s,
            "linear_wall_s": attention_s + mlp_s,
            "self_cpu_s": whole,
        },
        *(
            {"variant": variant, "level": "operator", "name": name, "self_cpu_s": s, "share": s / whole}
            for name, s in operators
        ),
        *(
            {
                "variant": variant,
                "level": "layer",
                "name": name,
                "kind": kind,
                "block": block,
                "is_linear": is_linear,
                "self_cpu_s": s,
                "quantizing_s": q,
            }
            for name, kind, block, is_linear, s, q in layers
        ),
    ]


FAST = [
    *rows("fp32", 2.0, 4.0, 2.0, 8.0, "aten::addmm"),
    *rows("qint8", 1.0, 2.0, 2.0, 5.0, "quantized::linear_dynamic"),
]
SLOW = [
    *rows("fp32", 2.0, 4.0, 2.0, 8.0, "aten::addmm"),
    *rows("qint8", 3.0, 6.0, 2.5, 12.0, "quantized::linear_dynamic"),
]


def test_amdahls_law_from_measured_shares() -> None:
    law = shares.amdahl(FAST, "qint8")
    assert law is not None
    assert law.linear_share == pytest.approx(6 / 8)
    assert law.bound == pytest.approx(4.0)  # 8 seconds, of which 2 remain
    assert law.linear_ratio == pytest.approx(2.0)
    assert law.predicted == pytest.approx(8 / 5)
    assert law.measured == pytest.approx(8 / 5)
    assert shares.amdahl(FAST, "fp32") is None
    assert shares.amdahl(FAST, "float16") is None


def test_times_by_kind_and_by_block_add_up_to_the_whole() -> None:
    for parts in (shares.by_kind(FAST), shares.by_block(FAST)):
        assert sum(part.total_s for part in parts if part.variant == "qint8") == pytest.approx(5.0)
    assert {part.title for part in shares.by_block(FAST)} == {"block 0", "block 1", "outside"}
    assert shares.quantizing(FAST, "qint8") == pytest.approx((0.2, 3.0))


def test_a_slower_variant_names_the_operators_that_make_it_so() -> None:
    assert shares.slower(FAST, "qint8") == []  # its Linear layers are compared with fp32's, and win
    assert shares.slower(SLOW, "qint8") == [
        ("quantized::linear_dynamic", pytest.approx(3.0)),
        ("aten::native_layer_norm", pytest.approx(0.5)),
    ]
    [slow] = wording.profile_sentences(SLOW)
    assert "`quantized::linear_dynamic` (+3e+03 ms)" in slow
    [fast] = wording.profile_sentences(FAST)
    assert "takes longer" not in fast
    assert "Computed (Amdahl's law)" in fast
    assert "75% of fp32's time" in fast
