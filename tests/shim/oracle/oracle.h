/* oracle.h – one set of programs run over the kernel's stack and over Strata; what they say must be the same.
 *
 *   oracle peer ADDR PORT             in the namespace of the kernel: does what a connection's first line asks for
 *   oracle run ADDR PORT MINE [NAME]  the cases, each a process of its own: one line "name TAB what was seen" each
 *
 * A case says what it saw, never whether that is right: tests/live/oracle.py compares. No addresses, ports, times. */
#ifndef TESTS_SHIM_ORACLE_H
#define TESTS_SHIM_ORACLE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct oracle { struct sockaddr_in peer, mine; const char *self, *peer_text, *mine_text; int port; };
extern struct oracle o;

struct test { const char *name; void (*run)(void); };
extern const struct test cases_options[], cases_state[], cases_ready[], cases_data[], cases_process[], cases_name[], cases_errors[], cases_urgent[], cases_audit[], cases_info[], cases_fastopen[];

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void result(const char *what, long r);		/* what=r, or what=ERRNO for -1 */
int tcp(void);					/* a new socket */
int ask(const char *fmt, ...) __attribute__((format(printf, 1, 2)));	/* a connection to the peer that does this */
void flags(const char *what, int fd);		/* poll and epoll say */
int wait_for(int fd, short events);		/* poll, 5 s: revents */
int listener(int *ret_port);
int accept_from_peer(int l, int port, const char *what);	/* the peer connects and does `what` */
const char *errno_name(int e);
void serve_peer(const char *addr, int port) __attribute__((noreturn));

#endif
