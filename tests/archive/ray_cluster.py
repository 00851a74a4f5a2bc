"""A Ray cluster of two nodes on this machine, for a test that may kill one of them.

Run as a program: prints the head's address, then reads commands, one a line: `kill` ends the second
node at once, `end` ends all.
"""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cpus = int(sys.argv[1])
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": cpus, "include_dashboard": False, "num_gpus": 0},
    )
    second = cluster.add_node(num_cpus=cpus, num_gpus=0)
    cluster.wait_for_nodes()
    say(cluster.address)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(second, allow_graceful=False)
            say("killed")
        else:
            break
    cluster.shutdown()


if __name__ == "__main__":
    main()
