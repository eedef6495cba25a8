from __future__ import annotations

import pytest
import torch

from homestretch.paper.models import MODELS, build_model, model_table, overdetermination, parameter_count

# Table 1 of the paper: Q as printed; P follows from the reading that reproduces every one of them.
PRINTED = {
    "mnist": ([154_058, 54_794, 42_506, 17_930, 121_994], ["3.9", "11.0", "14.1", "33.5", "4.9"]),
    "cifar-10": ([162_250, 62_986, 50_698, 26_122, 122_570], ["3.1", "7.9", "9.9", "19.1", "4.1"]),
    "cifar-100": ([168_100, 68_836, 56_548, 31_972, 128_420], ["29.7", "72.6", "88.4", "156.4", "38.9"]),
}


@pytest.mark.parametrize("norms", ["two-a-layer", "class-token"])
def test_table_has_all_fifteen_counts_and_ratios_as_printed(norms):
    expected = [
        (name, model, parameters, ratio)
        for name, (counts, ratios) in PRINTED.items()
        for model, parameters, ratio in zip(MODELS, counts, ratios, strict=True)
    ]
    assert [(row.set, row.model, row.P, f"{row.Q:.1f}") for row in model_table(norms)] == expected


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("norms", ["two-a-layer", "class-token"])
def test_outputs_are_probabilities_of_the_linear_scores(model, norms):
    images = torch.randn(3, 1, 32, 32)
    probabilities = build_model(model, (1, 32, 32), 7, norms=norms, seed=3)(images)
    scores = build_model(model, (1, 32, 32), 7, outputs="linear", norms=norms, seed=3)(images)
    assert probabilities.shape == (3, 7)
    torch.testing.assert_close(probabilities, scores.softmax(dim=-1), rtol=0, atol=0)


@pytest.mark.parametrize("model", MODELS)
def test_seed_decides_the_parameters_and_leaves_the_global_generator_alone(model):
    torch.manual_seed(1)
    first = build_model(model, seed=5).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    again, other = build_model(model, seed=5).state_dict(), build_model(model, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_without_a_seed_the_global_generator_draws():
    torch.manual_seed(2)
    first, second = build_model("vit-nomlp"), build_model("vit-nomlp")
    torch.manual_seed(2)
    again = build_model("vit-nomlp")
    weights = [model.network.head.weight for model in (first, second, again)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vit"}, "name must be one of vit-mlp"),
        ({"outputs": "sigmoid"}, "outputs must be one of softmax, linear"),
        ({"norms": "none"}, "norms must be one of two-a-layer"),
        ({"image_shape": (1, 28, 28)}, "multiples of 8"),
        ({"image_shape": (0, 32, 32)}, "multiples of 8"),
        ({"image_shape": (3, 0, 32)}, "multiples of 8"),
        ({"classes": 1}, "classes must be at least 2"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(**{"name": "vit-nomlp", **arguments})


def test_other_shapes_are_built_too():
    assert build_model("vit-mlp", (2, 16, 24), 4, seed=0)(torch.zeros(1, 2, 16, 24)).shape == (1, 4)
    assert build_model("vgg5-max-relu", (2, 16, 24), 4, seed=0)(torch.zeros(1, 2, 16, 24)).shape == (1, 4)


def test_frozen_parameters_are_not_counted():
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert parameter_count(model) == 6


def test_overdetermination_is_equations_by_unknowns():
    assert overdetermination(60, 10, 200) == 3.0
    with pytest.raises(ValueError, match="at least 1"):
        overdetermination(60, 10, 0)


# torch scripts its own rules when forward-mode differentiation is first used, and warns about it.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_hessian_and_gauss_newton_products(name):
    """Reverse over reverse, forward over reverse, forward alone and per-sample Jacobians, against one another."""
    model = build_model(name, (1, 8, 8), 3, seed=0).double()
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(3, dtype=torch.float64)
    parameters = {key: p.detach() for key, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    vector = {key: torch.randn(p.shape, dtype=p.dtype, generator=generator) for key, p in parameters.items()}

    def outputs(values, inputs):
        return torch.func.functional_call(model, values, (inputs,))

    def loss(values):
        return (outputs(values, images) - targets).square().mean()

    forward_over_reverse = torch.func.jvp(torch.func.grad(loss), (parameters,), (vector,))[1]

    def slope(values):
        gradient = torch.func.grad(loss)(values)
        return sum((gradient[key] * vector[key]).sum() for key in values)

    reverse_over_reverse = torch.func.grad(slope)(parameters)
    for key in parameters:
        torch.testing.assert_close(forward_over_reverse[key], reverse_over_reverse[key], rtol=1e-8, atol=1e-12)

    change = torch.func.jvp(lambda values: outputs(values, images), (parameters,), (vector,))[1]
    single = torch.func.jacrev(lambda values, image: outputs(values, image[None])[0])
    jacobians = torch.vmap(single, in_dims=(None, 0))(parameters, images)
    from_rows = sum((jacobians[key].flatten(2) * vector[key].flatten()).sum(-1) for key in parameters)
    torch.testing.assert_close(change, from_rows, rtol=1e-8, atol=1e-12)
