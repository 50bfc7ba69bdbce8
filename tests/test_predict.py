"""Pictures to answers: the notebook's transform, top-k, divergences, and tracing that changes nothing."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy
from torchvision import transforms

from vitquant import machine, predict
from vitquant.weights import resolve


def noise(edge: int = 64) -> Image.Image:
    pixels = np.random.default_rng(edge).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_transform_is_the_notebooks_in_its_order() -> None:
    notebook = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            transforms.Resize((70, 70)),
        ]
    )
    pictures = [noise(64), noise(80)]
    inputs = predict.to_input(pictures, 70)
    assert inputs.shape == (2, 3, 70, 70)
    assert torch.equal(inputs, torch.stack([notebook(picture) for picture in pictures]))


def test_top_k_orders_by_probability_and_equal_ones_by_index() -> None:
    logits = np.zeros((1, 1000), dtype=np.float32)
    logits[0, [7, 3]] = 2, 5
    indices, probabilities = predict.top_k(logits, 4)
    assert indices.tolist() == [[3, 7, 0, 1]]
    total = np.exp(5) + np.exp(2) + 998
    assert probabilities[0] == pytest.approx([np.exp(5) / total, np.exp(2) / total, 1 / total, 1 / total])
    assert predict.true_ranks(logits, [7]).tolist() == [2]
    assert predict.probabilities_of(logits, [7])[0] == pytest.approx(probabilities[0, 1])


def test_kl_is_scipys_and_zero_for_the_same() -> None:
    p, q = np.random.default_rng(0).normal(size=(2, 3, 1000)).astype(np.float32)
    expected = [entropy(np.exp(a), np.exp(b)) for a, b in zip(p, q, strict=True)]
    assert predict.kl_nats(p, q) == pytest.approx(expected, rel=1e-4)
    assert (predict.kl_nats(p, p) == 0).all()


def test_a_traced_variant_answers_as_the_untraced_to_the_last_bit() -> None:
    source = resolve("dinov2_vits14_reg_lc", "random")
    [model] = predict.load_variants(source, ["qint8"], machine.engine()).values()
    traced = predict.load_for_pass(source, ["qint8"], 70)["qint8"]
    assert isinstance(traced, torch.jit.ScriptModule)
    inputs = predict.to_input([noise(64), noise(70), noise(90)], 70)
    for _ in range(3):  # TorchScript looks at its first runs, and may change what it does after them
        answers = predict.logits_of(traced, inputs, one_by_one=True)
        assert np.array_equal(answers, predict.logits_of(model, inputs, one_by_one=True))
