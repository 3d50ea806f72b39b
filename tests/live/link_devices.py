#!/usr/bin/env python3
"""link_devices.py - linkd and ipd on real interfaces, both drivers; linkd is killed under a stream of pings.

    namespace, tap:      kernel (10.77.9.1) ------- lk9 (TAP) -- strata-linkd -- strata-ipd (10.77.9.2)
    namespace, packet:   kernel (10.77.9.1, peer9) -- lk9 (veth) -- strata-linkd -- strata-ipd (10.77.9.2)

Needs root. Usage: link_devices.py BUILDDIR. Prints TAP; run by hand or by meson (suite live).
To see a failure again: run it with STRATA_PCAP=/tmp/x.pcap, every frame is in that file."""
import ctypes, os, random, signal, socket, struct, subprocess, sys, tempfile, time

BUILD = sys.argv[-1] if len(sys.argv) > 1 else "."	# DIR or --build DIR
NS = "link-live-%d" % os.getpid()
CONF = "[link lk9]\ndriver = %s\n[ip]\naddress = 10.77.9.2/24 dev lk9\n[tcp]\n[sock]\n"
failed = n = 0


def ok(cond, what):
    global n, failed
    n += 1
    failed += not cond
    print("%sok %d - %s" % ("" if cond else "not ", n, what), flush=True)


def sh(*cmd):
    subprocess.run(cmd, check=True)


def csum(b):
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


class Pinger:
    def __init__(self):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.id = random.randrange(65536)

    def send(self, seq, size=56):
        h = struct.pack("!BBHHH", 8, 0, 0, self.id, seq) + bytes(i & 255 for i in range(size & ~1))
        self.s.sendto(h[:2] + struct.pack("!H", csum(h)) + h[4:], ("10.77.9.2", 0))
        return h[8:]

    def recv(self, timeout):
        self.s.settimeout(timeout)
        try:
            while True:
                b = self.s.recv(70000)
                t, _, _, i, seq = struct.unpack("!BBHHH", b[20:28])
                if t == 0 and i == self.id:
                    return seq, b[28:]
        except socket.timeout:
            return None, b""

    def ping(self, seq, size=56, timeout=1.0):
        sent = self.send(seq, size)
        got, data = self.recv(timeout)
        return got == seq and data == sent


class Daemons:
    def __init__(self, rundir, driver):
        self.dir, self.procs = rundir, {}
        self.conf = os.path.join(rundir, "t.conf")
        open(self.conf, "w").write(CONF % driver)

    def start(self, what, layer):
        env = dict(os.environ, STRATA_RUNDIR=self.dir)
        self.procs[what] = subprocess.Popen(["timeout", "--foreground", "100", os.path.join(BUILD, "services", layer, what),
                                             "--instance", "t", "--config", self.conf], env=env)

    def kill(self, what):
        """SIGKILL to the daemon itself, the child of timeout(1)."""
        p = self.procs[what]
        for child in open("/proc/%d/task/%d/children" % (p.pid, p.pid)).read().split():
            os.kill(int(child), signal.SIGKILL)
        p.wait()

    def stop(self):
        for p in self.procs.values():
            if p.poll() is None:
                p.terminate()
                p.wait()


def address(near):
    for _ in range(50):
        if subprocess.run(["ip", "addr", "add", "10.77.9.1/24", "dev", near], stderr=subprocess.DEVNULL).returncode == 0:
            break
        time.sleep(0.1)


def main(d, driver):
    near = "lk9" if driver == "tap" else "peer9"
    d.start("strata-keepd", "keep")
    time.sleep(0.3)
    d.start("strata-linkd", "link")
    d.start("strata-ipd", "ip")
    address(near)
    p = Pinger()
    events = subprocess.Popen(["ip", "monitor", "link"], stdout=subprocess.PIPE, text=True)
    ok(any(p.ping(i) for i in range(20)), "%s: an echo comes back" % driver)
    ok(all(p.ping(100 + i, s) for i, s in enumerate((0, 2, 40, 1400, 1472))), "all sizes up to the MTU")
    start, count = time.monotonic(), 0
    while time.monotonic() - start < 2:
        count += p.ping(count & 0xffff)
    print("# %d round trips a second" % (count / 2))
    ok(count > 1000, "round trips in a row")

    lost = 0
    for life in range(20):
        d.kill("strata-linkd")
        for i in range(10):     # queue in the interface while nobody is there
            p.send(1000 + life * 16 + i)
        d.start("strata-linkd", "link")
        got = set()
        while True:
            seq, _ = p.recv(1.0 if len(got) < 10 else 0.01)
            if seq is None:
                break
            got.add(seq)
        lost += 10 - len([s for s in got if 1000 + life * 16 <= s < 1010 + life * 16])
    ok(lost == 0, "20 deaths, %d of 200 echoes lost" % lost)
    events.terminate()
    down = [l for l in events.stdout if "NO-CARRIER" in l or "state DOWN" in l or "Deleted" in l]
    ok(not down, "the interface has not noticed")
    if driver == "tap":
        sh("ip", "link", "del", "lk9")
        ok(d.procs["strata-linkd"].wait(5) == 1, "linkd leaves when its interface is deleted")
        d.start("strata-linkd", "link")
        address(near)
        ok(any(p.ping(20000 + i) for i in range(20)), "and its successor makes it again")


def gone(dev):
    """The TAP goes with the last of its holders, a moment after keepd has been told to end."""
    for _ in range(500):
        if subprocess.run(["ip", "link", "show", dev], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            return
        time.sleep(0.01)
    raise OSError("%s is still there" % dev)


if os.geteuid() or not os.path.exists("/dev/net/tun"):
    print("1..0 # SKIP needs root and /dev/net/tun")
    sys.exit(0)
print("1..12")
sh("ip", "netns", "add", NS)
try:
    ns = os.open("/run/netns/" + NS, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(ns, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
    for driver in ("tap", "packet"):
        if driver == "packet":
            gone("lk9")
            sh("ip", "link", "add", "lk9", "type", "veth", "peer", "name", "peer9")
            sh("ip", "link", "set", "peer9", "up")
        with tempfile.TemporaryDirectory() as rundir:
            d = Daemons(rundir, driver)
            try:
                main(d, driver)
            finally:
                d.stop()
finally:
    sh("ip", "netns", "del", NS)
sys.exit(1 if failed else 0)
