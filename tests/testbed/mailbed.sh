#!/usr/bin/env bash
# A real Postfix -> LMTP -> Dovecot pair on loopback ports, all state in one folder.
#   mailbed.sh up DIR [BASEPORT]    start   (SMTP = BASE, LMTP = BASE+1, IMAP = BASE+2; BASE defaults to 10250;
#                                   mail for gw.example goes on by LMTP to BASE+3, where a gateway may listen)
#   mailbed.sh dovecot DIR          stop Dovecot and start it again with what `up` wrote
#   mailbed.sh down DIR             stop the processes that this folder's `up` started
#   mailbed.sh wipe DIR             stop and remove the folder
# Dovecot runs rootless: as the caller, or as BED_USER (default nobody) when the caller is root.
# Where dovecot-imapd cannot be installed (it conflicts with cyrus-imapd), unpack its .deb with `dpkg -x`, put its programs and links
# to /usr/lib/dovecot/* into one folder, and name that folder in BED_LIBEXEC.
# BED_POSTFIX, set and empty, leaves Postfix out.
# BED_CAPABILITY replaces what Dovecot says it can do, for example to leave IDLE out.
# Postfix's master must be root; without root `up` starts Dovecot alone (deliver straight to the LMTP port).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cmd=${1:?up, dovecot, down or wipe}; dir=$(realpath -m "${2:?folder}")
stop() {
  local pids=()
  for f in "$@"; do
    [ -s "$f" ] || continue
    p=$(tr -d ' \n' <"$f"); kill "$p" 2>/dev/null || true; pids+=("$p")
  done
  for p in "${pids[@]}"; do
    for _ in $(seq 50); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  done
}
both=("$dir/dovecot/run/master.pid" "$dir/postfix/queue/pid/master.pid")
case $cmd in
down) stop "${both[@]}"; exit ;;
dovecot)
  # An idle session outlives its master by up to 10 s: a crash would end it at once.
  sessions=$(pgrep -P "$(tr -d ' \n' <"${both[0]}")" -x imap || true)
  stop "${both[0]}"
  [ -z "$sessions" ] || kill $sessions 2>/dev/null || true
  if [ "$(id -u)" = 0 ]; then
    user=${BED_USER:-nobody}
    exec setpriv --reuid="$user" --regid="$(id -gn "$user")" --clear-groups dovecot -c "$dir/dovecot/dovecot.conf"
  fi
  exec dovecot -c "$dir/dovecot/dovecot.conf" ;;
wipe) stop "${both[@]}"; rm -rf "$dir/dovecot" "$dir/postfix"; rmdir "$dir" 2>/dev/null || true; exit ;;
up) ;;
*) echo "up, dovecot, down or wipe" >&2; exit 2 ;;
esac
base=${3:-10250}; smtp=$base; lmtp=$((base + 1)); imap=$((base + 2)); gw=$((base + 3))
if [ "$(id -u)" = 0 ]; then user=${BED_USER:-nobody}; else user=$(id -un); fi
group=$(id -gn "$user")
fill() { sed -e "s|@DIR@|$dir|g" -e "s|@USER@|$user|g" -e "s|@GROUP@|$group|g" -e "s|@SMTP@|$smtp|g" \
             -e "s|@LMTP@|$lmtp|g" -e "s|@IMAP@|$imap|g" -e "s|@GW@|$gw|g" "$here/$1"; }
mkdir -p "$dir"/dovecot/{run,mail,log}; chmod 755 "$dir"
fill dovecot.conf.in >"$dir/dovecot/dovecot.conf"
[ -z "${BED_CAPABILITY:-}" ] || echo "imap_capability = $BED_CAPABILITY" >>"$dir/dovecot/dovecot.conf"
[ -z "${BED_LIBEXEC:-}" ] || echo "libexec_dir = $BED_LIBEXEC" >>"$dir/dovecot/dovecot.conf"
cp "$here/users" "$dir/dovecot/users"
if [ "$(id -u)" = 0 ]; then
  chown -R "$user:$group" "$dir/dovecot"
  setpriv --reuid="$user" --regid="$group" --clear-groups dovecot -c "$dir/dovecot/dovecot.conf"
  [ -n "${BED_POSTFIX-yes}" ] || smtp=
  [ -z "$smtp" ] || {
  q=$dir/postfix; mkdir -p "$q/conf" "$q/queue/pid" "$q/data" "$q/log"; chown postfix "$q/data"
  fill main.cf.in >"$q/conf/main.cf"; fill master.cf.in >"$q/conf/master.cf"
  postfix -c "$q/conf" start 2>/dev/null
  }
else
  dovecot -c "$dir/dovecot/dovecot.conf"
fi
for port in $imap $lmtp $([ "$(id -u)" = 0 ] && echo $smtp); do
  for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2; sleep 0.05; done
  echo "port $port did not open; see $dir" >&2; exit 1
done
echo "smtp=$smtp lmtp=$lmtp imap=$imap gateway=$gw user=$user dir=$dir"
