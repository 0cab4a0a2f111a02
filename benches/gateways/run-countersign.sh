#!/bin/bash
# Countersign on its defaults, one thread, in front of the echo server, with the
# shipped global policies, a permit, and two limits on an argument.
NAME=countersign PORT=9209; . "$(dirname "$0")/lib.sh"
D=$PEERS/countersign; TOOL=echo__echo
mkdir -p "$D/policies"; rm -rf "$D"/countersign.db*
COUNTERSIGN=${COUNTERSIGN:?the path of the program}
cat >"$D/countersign.toml" <<C
[http]
listen = "127.0.0.1:$PORT"
anonymous = "bench"
threads = 1
[servers.echo]
url = "$DOWN"
[servers.echo.tools.echo]
access = "${ACCESS:-write}"
C
cat >"$D/principals.toml" <<C
[roles]
Junior = []
Manager = ["Junior"]
[[principals]]
subject = "bench"
role = "Junior"
limits = { call = "1.00", session = "1.00", day = "1.00" }
C
"$COUNTERSIGN" example --policies >"$D/policies/global.cedar"
cat >"$D/policies/bench.cedar" <<C
@id("bench.use")
permit (principal in Broker::Role::"Junior", action in Broker::Action::"server:echo", resource);
C
[ -z "${LIMITED:-}" ] || cat >>"$D/policies/bench.cedar" <<C
@id("bench.secret")
forbid (principal, action == Broker::Action::"echo/echo", resource)
when { context.input.text like "*secret*" };
@id("bench.long")
forbid (principal, action == Broker::Action::"echo/echo", resource)
when { context.input.text == "" };
C
launch() { export COUNTERSIGN_LOG=${COUNTERSIGN_LOG:-error}; exec "$COUNTERSIGN" --config "$D/countersign.toml" serve; }
peer_main "$@"
