/* tap_pcap.c – rx2 and tx8: a packet tap that writes what passes to a file in libpcap's format.
 *
 * One user of the list of taps (ptype_all); on when STRATA_PCAP=FILE is set. Frames are as the device has them:
 * large packets uncut, checksums perhaps unfinished. Called by receive.c and xmit.c through packet_type.func. */
#include <pcap/pcap.h>
#include <stdlib.h>
#include <time.h>

#include "common/log.h"
#include "services/link/path.h"

#define SNAPLEN (70 * 1024)

struct pcap_tap {
	struct packet_type pt;
	pcap_t *pcap;
	pcap_dumper_t *file;
	u8 frame[SNAPLEN];
};

static int pcap_func(struct linkd *l, struct net_device *dev, struct sk_buff *skb, const struct frame *f,
		     struct packet_type *pt)
{
	struct pcap_tap *t = container_of(pt, struct pcap_tap, pt);
	struct pcap_pkthdr h = { .caplen = f->hdr_len + f->len, .len = f->hdr_len + f->len };
	struct timespec now;

	if (h.caplen > SNAPLEN)
		return -EMSGSIZE;
	clock_gettime(CLOCK_REALTIME, &now);
	h.ts.tv_sec = now.tv_sec;
	h.ts.tv_usec = now.tv_nsec / 1000;
	memcpy(t->frame, f->hdr, f->hdr_len);
	memcpy(t->frame + f->hdr_len, f->data, f->len);
	pcap_dump((u_char *)t->file, &h, t->frame);
	if (pcap_dump_flush(t->file) < 0) {
		log_warn("packet capture: writing: %m");
		return -EIO;
	}
	return 0;
}

int tap_pcap_open(struct linkd *l, const char *file)
{
	struct pcap_tap *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->pcap = pcap_open_dead(DLT_EN10MB, SNAPLEN);
	if (t->pcap)
		t->file = pcap_dump_open(t->pcap, file);
	if (!t->file) {
		log_err("packet capture: %s", t->pcap ? pcap_geterr(t->pcap) : "out of memory");
		if (t->pcap)
			pcap_close(t->pcap);
		free(t);
		return -EIO;
	}
	t->pt = (struct packet_type){ .type = ETH_P_ALL, .func = pcap_func };
	dev_add_pack(l, &t->pt);
	log_notice("capturing every frame to %s", file);
	return 0;
}
