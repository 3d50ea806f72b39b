/* dev.c – from configuration to open devices: driver, network namespace, MTU, link state.
 *
 * No step of the flow: before rx1 and behind tx8. Called by main.c at start. System calls live here and in the
 * drivers. A device that cannot be opened is an error that names it and what to do; nothing stays half open.
 *
 * A device in another network namespace (netns = NAME or PATH) is opened by entering it for the moment of opening;
 * that needs CAP_SYS_ADMIN and is done only if the key is set. Descriptors stay usable from outside. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "services/link/path.h"

static const struct net_device_ops *const drivers[] = { &tap_ops, &packet_ops };

static const struct net_device_ops *driver_find(const char *name)
{
	for (u32 i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strcmp(drivers[i]->driver, name))
			return drivers[i];
	return NULL;
}

static const char *remedy(int err)
{
	switch (err) {
	case EPERM: case EACCES:
		return "; give strata-linkd CAP_NET_ADMIN and CAP_NET_RAW (netns = needs CAP_SYS_ADMIN too)";
	case EBUSY:
		return "; another program has it open: ask `fuser -v /dev/net/tun`, or name another interface";
	case ENODEV: case ENXIO:
		return "; no such interface: `ip link` lists them";
	case ENOENT:
		return "; /dev/net/tun is missing (`modprobe tun`), or the network namespace is";
	case EINVAL:
		return "; it is no TAP interface, or has queues or flags of another kind: delete it, linkd makes it anew";
	case EADDRINUSE:
		return "; Strata's MAC must differ from the TAP interface's own: set mac = in its [link] section";
	default:
		return "";
	}
}

/* Enter the namespace `name`; *ret_back: descriptor to return with, -1 when there is nothing to return from. */
static int netns_enter(const char *name, int *ret_back)
{
	char path[160];
	int ns, r = 0;

	*ret_back = -1;
	if (!*name)
		return 0;
	snprintf(path, sizeof(path), "%s%s", *name == '/' ? "" : "/run/netns/", name);
	*ret_back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*ret_back < 0)
		return -errno;
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		r = -errno;
	if (ns >= 0)
		close(ns);
	if (r < 0) {
		close(*ret_back);
		*ret_back = -1;
	}
	return r;
}

static int netns_leave(int back)
{
	int r = 0;

	if (back < 0)
		return 0;
	if (setns(back, CLONE_NEWNET) < 0)
		r = -errno;
	close(back);
	return r;
}

/* @sock: any socket in the device's namespace. The interface's index and link state are set and noted. */
int dev_set_up(struct net_device *dev, int sock)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev->conf->name);
	if (ioctl(sock, SIOCGIFINDEX, &ifr) < 0)
		return -errno;
	dev->ifindex = (u32)ifr.ifr_ifindex;
	if (ioctl(sock, SIOCGIFMTU, &ifr) < 0)
		return -errno;
	if (ifr.ifr_mtu != (int)dev->mtu) {
		ifr.ifr_mtu = (int)dev->mtu;
		if (ioctl(sock, SIOCSIFMTU, &ifr) < 0)
			return -errno;
	}
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	if (!(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		if (ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
			return -errno;
	}
	return 0;
}

/* What was set at run time holds until the configuration says something else. The slot may have been another device's. */
static u32 mtu_at_start(const struct link_dev *s, const struct conf_dev *conf)
{
	bool set = s->set_mtu && s->set_conf == conf->mtu && !strncmp(s->name, conf->name, sizeof(s->name));

	return set ? s->set_mtu : conf->mtu;
}

static void dev_describe(struct net_device *dev)
{
	struct link_dev *s = dev->shm;

	snprintf(s->name, sizeof(s->name), "%s", dev->conf->name);
	snprintf(s->driver, sizeof(s->driver), "%s", dev->ops->driver);
	memcpy(s->mac, dev->mac, ETH_ALEN);
	s->mtu = (u16)dev->mtu;
	if (s->mtu == dev->conf->mtu)
		s->set_mtu = 0;
	s->ifindex = dev->ifindex;
	s->features = dev->features;
	store_release(&s->up, 1);
	dev->up = true;
	log_info("%s: driver %s, MAC %02x:%02x:%02x:%02x:%02x:%02x, MTU %u%s%s%s", s->name, s->driver, dev->mac[0],
		 dev->mac[1], dev->mac[2], dev->mac[3], dev->mac[4], dev->mac[5], s->mtu,
		 dev->features & LINK_F_VNET ? ", vnet header" : "", dev->features & LINK_F_CSUM ? ", checksums" : "",
		 dev->features & LINK_F_TSO ? ", TSO" : "");
}

int dev_open(struct linkd *l, const struct conf_dev *conf, int parked)
{
	struct net_device *dev = &l->dev[l->ndevs];
	int back, left, r;

	if (l->ndevs == LINK_DEVS)
		return -ENOSPC;
	*dev = (struct net_device){ .l = l, .conf = conf, .ops = driver_find(conf->driver), .fd = -1,
				    .index = l->ndevs, .shm = &l->shm->dev[l->ndevs] };
	store_release(&dev->shm->up, 0);
	if (!dev->ops) {
		log_err("%s: no driver '%s'; say driver = tap or driver = packet", conf->name, conf->driver);
		return -EINVAL;
	}
	memcpy(dev->mac, conf->mac, ETH_ALEN);
	dev->mtu = mtu_at_start(dev->shm, conf);
	napi_attach(dev, &l->shm->posted[dev->index * RX_POSTS]);
	r = netns_enter(conf->netns, &back);
	if (r == 0) {
		r = dev->ops->open(dev, parked);
		left = netns_leave(back);
		if (r == 0 && left < 0) {
			dev->ops->stop(dev);
			r = left;
		}
	}
	if (r < 0) {
		log_err("%s: cannot open%s%s: %s%s", conf->name, *conf->netns ? " in network namespace " : "",
			conf->netns, strerror(-r), remedy(-r));
		return r;
	}
	dev_describe(dev);
	l->ndevs++;
	return 0;
}

static int interface_mtu(const struct net_device *dev, u32 mtu)
{
	struct ifreq ifr = { .ifr_mtu = (int)mtu };
	int back, r = netns_enter(dev->conf->netns, &back), sock, left;

	if (r < 0)
		return r;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev->conf->name);
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || ioctl(sock, SIOCSIFMTU, &ifr) < 0)
		r = -errno;
	if (sock >= 0)
		close(sock);
	left = netns_leave(back);
	return r ? r : left;
}

/* The interface first: what it refuses is not noted. A death between is healed by asking again. */
int dev_set_mtu(struct net_device *dev, u32 mtu)
{
	int r = interface_mtu(dev, mtu);

	if (r < 0) {
		log_warn("%s: MTU %u: %s", dev->conf->name, mtu, strerror(-r));
		return r;
	}
	dev->mtu = mtu;
	dev->shm->set_conf = dev->conf->mtu;
	dev->shm->set_mtu = (u16)(mtu == dev->conf->mtu ? 0 : mtu);
	dev->shm->mtu = (u16)mtu;
	log_info("%s: MTU %u", dev->conf->name, mtu);
	return 0;
}

void dev_close_all(struct linkd *l)
{
	while (l->ndevs) {
		struct net_device *dev = &l->dev[--l->ndevs];

		store_release(&dev->shm->up, 0);
		dev->ops->stop(dev);
	}
}
