/* dev_packet.c – driver "packet": Strata shares an existing interface through an AF_PACKET socket (rx1, tx8).
 *
 * The interface's MAC is ours unless the configuration names another (then the interface becomes promiscuous).
 * The host's kernel sees every frame too: it must not own Strata's address, or it answers with RSTs what it does not
 * know. Do not give the address to the interface; in a namespace of its own (netns =) it needs no address at all.
 * The vnet header carries checksum and segmentation state, so what the interface merges arrives in one piece and what
 * it can segment leaves in one. Our own disciplines queue before the interface's; PACKET_QDISC_BYPASS is left off, it
 * would turn a full interface queue into losses instead of -EAGAIN.
 * The socket is parked beyond our death: frames queue in it meanwhile, up to its receive buffer.
 * Called through net_device_ops by dev.c, napi.c and xmit.c. */
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "services/link/dev.h"

#include <linux/if_packet.h>	/* last: its PACKET_HOST... are macros of the values that skb.h gives by name */

#define PACKET_RCVBUF (8 << 20)		/* frames that wait while linkd is away */
#define PACKET_SNDBUF (1 << 20)

static int packet_ifreq(const struct net_device *dev, int fd, unsigned long op, struct ifreq *ifr)
{
	memset(ifr, 0, sizeof(*ifr));
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", dev->conf->name);
	return ioctl(fd, op, ifr) < 0 ? -errno : 0;
}

/* The socket's own namespace answers the ioctl, so a parked socket is asked about the interface it knows. */
static bool packet_is(const struct net_device *dev, int fd)
{
	struct sockaddr_ll sll;
	socklen_t len = sizeof(sll);
	struct ifreq ifr;

	return getsockname(fd, (struct sockaddr *)&sll, &len) == 0 && sll.sll_family == AF_PACKET &&
	       packet_ifreq(dev, fd, SIOCGIFINDEX, &ifr) == 0 && sll.sll_ifindex == ifr.ifr_ifindex;
}

static int packet_options(struct net_device *dev, int fd)
{
	int one = 1, vnet = dev->conf->vnet, rcv = PACKET_RCVBUF, snd = PACKET_SNDBUF;

	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &vnet, sizeof(vnet)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcv, sizeof(rcv)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &snd, sizeof(snd)) < 0)
		log_notice("%s: socket buffers stay at their defaults: %m", dev->conf->name);
	if (vnet) {
		dev->vnet_len = sizeof(struct vnet_hdr);
		dev->features = LINK_F_VNET | (dev->conf->csum ? LINK_F_CSUM : 0) |
				(dev->conf->csum && dev->conf->tso ? LINK_F_TSO : 0);
	}
	return 0;
}

static int packet_bind(const struct net_device *dev, int fd)
{
	struct sockaddr_ll sll = { .sll_family = AF_PACKET, .sll_protocol = to_be16(ETH_P_ALL).v,
				   .sll_ifindex = (int)dev->ifindex };

	return bind(fd, (struct sockaddr *)&sll, sizeof(sll)) < 0 ? -errno : 0;
}

static int packet_set_mac_address(struct net_device *dev, const u8 mac[ETH_ALEN])
{
	struct packet_mreq mreq = { .mr_ifindex = (int)dev->ifindex, .mr_type = PACKET_MR_PROMISC };
	struct ifreq ifr;
	int r = packet_ifreq(dev, dev->fd, SIOCGIFHWADDR, &ifr);

	if (r < 0)
		return r;
	if (memcmp(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN) &&
	    setsockopt(dev->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mreq, sizeof(mreq)) < 0)
		return -errno;
	memcpy(dev->mac, mac, ETH_ALEN);
	return 0;
}

static int packet_set_up(struct net_device *dev, bool fresh)
{
	struct ifreq ifr;
	int r = packet_options(dev, dev->fd);

	if (r == 0)
		r = dev_set_up(dev, dev->fd);
	if (r == 0)
		r = packet_ifreq(dev, dev->fd, SIOCGIFHWADDR, &ifr);
	if (r < 0)
		return r;
	if (!dev->conf->has_mac)
		memcpy(dev->mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	if (!fresh)
		return 0;	/* bound, and promiscuous if need be, since an earlier life */
	r = packet_set_mac_address(dev, dev->mac);
	return r < 0 ? r : packet_bind(dev, dev->fd);
}

static int packet_open(struct net_device *dev, int parked)
{
	bool fresh = parked < 0 || !packet_is(dev, parked);
	int r;

	if (fresh && parked >= 0)
		log_notice("%s: the parked socket is of an interface that is gone: opening anew", dev->conf->name);
	/* Protocol 0: nothing arrives before it is bound to the interface. */
	dev->fd = fresh ? socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : dup(parked);
	if (dev->fd < 0)
		return -errno;
	r = packet_set_up(dev, fresh);
	if (r < 0)
		dev_fd_stop(dev);
	return r;
}

const struct net_device_ops packet_ops = {
	.driver = "packet",
	.open = packet_open,
	.stop = dev_fd_stop,
	.hard_start_xmit = dev_fd_xmit,
	.poll = dev_fd_poll,
	.set_mac_address = packet_set_mac_address,
};
