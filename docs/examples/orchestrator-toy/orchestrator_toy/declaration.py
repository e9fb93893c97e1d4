"""What Toy CI says about itself. Importing this imports no HTTP: `check` and `--help` load it."""

from orchestrator.core.model import BuildState, Limit
from orchestrator.providers.port import Declaration, Key, Polling

DECLARATION = Declaration(
    type="toy",
    title="Toy CI",
    url="https://toy.invalid",
    hosts=frozenset({"toy.invalid"}),  # where a token goes without a question
    factory="orchestrator_toy.provider:Toy",
    headers="orchestrator_toy.provider:headers",
    lookalike="orchestrator_toy.lookalike:ToyLookAlike",
    states={
        "waiting": BuildState.QUEUED,
        "going": BuildState.RUNNING,
        "green": BuildState.PASSED,
        "red": BuildState.FAILED,
        "stopped": BuildState.CANCELED,
    },
    limits=(Limit("triggers", 30, 60.0), Limit("calls", 600, 60.0)),
    trigger_limits=("triggers", "calls"),
    settle=10.0,  # seconds after which a lost call shows in listings, or never came
    polling=Polling(per_build=0.02),  # fifty builds a call
    keys={"machine": Key(str, "the kind of machine to build on")},
    starters={"orchestrator.yaml": "orchestrator_toy:starter.yaml"},  # what `init --type toy` writes
    token_env="TOY_TOKEN",
)
