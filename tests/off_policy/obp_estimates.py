"""What Open Bandit Pipeline estimates of a log: python obp_estimates.py LOG.json; prints JSON. Runs in its environment.

LOG.json holds, for pages with one suggestion, `action`, `click`, `propensity`, `policy` [N, K], `expected` [N, K] and
`switch_above`; for slates `clicks` [N, L] and, under `logging` and `policy`, `marginal` and `conditional` [N, L].
"""

import json
import sys

import numpy as np
from obp.ope import (
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
    SlateIndependentIPS,
    SlateRewardInteractionIPS,
    SwitchDoublyRobust,
)

log = json.load(open(sys.argv[1]))
single = {name: np.array(value) for name, value in log["single"].items()}
arguments = {
    "reward": single["click"],
    "action": single["action"],
    "pscore": single["propensity"],
    "action_dist": single["policy"][:, :, None],
    "position": np.zeros(len(single["action"]), int),
    "estimated_rewards_by_reg_model": single["expected"][:, :, None],
}
estimators = {
    "ips": InverseProbabilityWeighting(),
    "snips": SelfNormalizedInverseProbabilityWeighting(),
    "dr": DoublyRobust(),
    "switch_dr": SwitchDoublyRobust(lambda_=float(single["switch_above"])),
}
found = {name: float(estimator.estimate_policy_value(**arguments)) for name, estimator in estimators.items()}

clicks = np.array(log["slates"]["clicks"])
pages, length = clicks.shape
of = {
    (who, kind): np.array(log["slates"][who][kind])
    for who in ("logging", "policy")
    for kind in ("marginal", "conditional")
}
common = {
    "slate_id": np.repeat(np.arange(pages), length),
    "reward": clicks.ravel(),
    "position": np.tile(np.arange(length), pages),
}
found["independent_ips"] = float(
    SlateIndependentIPS(len_list=length).estimate_policy_value(
        **common,
        pscore_item_position=of["logging", "marginal"].ravel(),
        evaluation_policy_pscore_item_position=of["policy", "marginal"].ravel(),
    )
)
found["reward_interaction_ips"] = float(
    SlateRewardInteractionIPS(len_list=length).estimate_policy_value(
        **common,
        pscore_cascade=of["logging", "conditional"].cumprod(1).ravel(),
        evaluation_policy_pscore_cascade=of["policy", "conditional"].cumprod(1).ravel(),
    )
)
print(json.dumps(found))
