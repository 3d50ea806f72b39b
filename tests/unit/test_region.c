/* test_region.c – mirrors common/region.c: sealed, private, and read-only where it says so. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/region.h"
#include "unit.h"

static void a_region_is_sealed_and_private(void)
{
	int fd = region_create("unit", 5000);
	struct stat st;

	REQUIRE(fd >= 0);
	REQUIRE_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, 2 * PAGE);
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(ftruncate(fd, PAGE), -1);
	CHECK_EQ(ftruncate(fd, 3 * PAGE), -1);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	close(fd);
}

static void read_only_cannot_be_mapped_for_writing(void)
{
	int fd = region_create("unit", PAGE), ro = region_reopen_ro(fd);
	u32 *w = region_map(fd, PAGE, true);
	const u32 *r = region_map(ro, PAGE, false);

	REQUIRE(ro >= 0 && w && r);
	*w = 42;
	CHECK_EQ(*r, 42);
	CHECK(region_map(ro, PAGE, true) == NULL);
	CHECK_EQ(mprotect((void *)r, PAGE, PROT_READ | PROT_WRITE), -1);
	CHECK_EQ(write(ro, "x", 1), -1);
	munmap(w, PAGE);
	munmap((void *)r, PAGE);
	close(fd);
	close(ro);
}

/* Whoever is not keepd's user cannot make a writable descriptor of a read-only one. */
static void read_only_stays_read_only_for_other_users(void)
{
	int fd = region_create("unit", PAGE), ro = region_reopen_ro(fd), status = 0;
	pid_t pid;

	if (geteuid()) {
		close(fd);
		close(ro);
		return;		/* needs a second user */
	}
	pid = fork();
	if (pid == 0) {
		char path[40];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", ro);
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(open(path, O_RDWR) >= 0);
	}
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
	close(fd);
	close(ro);
}

static void unsealed_or_short_is_refused(void)
{
	int fd = memfd_create("unit", MFD_CLOEXEC | MFD_ALLOW_SEALING), ok = region_create("unit", PAGE);

	REQUIRE_EQ(ftruncate(fd, PAGE), 0);
	CHECK(region_map(fd, PAGE, false) == NULL && errno == EPROTO);
	CHECK(region_map(ok, 2 * PAGE, false) == NULL && errno == EPROTO);
	close(fd);
	close(ok);
}

static void header_says_what_it_is(void)
{
	static struct region_hdr h;

	for (enum region_id id = REGION_LINK; id <= REGION_SOCK; id++) {
		memset(&h, 0, sizeof(h));
		CHECK_EQ(region_check(&h, id), -ENODATA);
		region_init(&h, id);
		CHECK_EQ(region_check(&h, id), 0);
		CHECK_EQ(region_check(&h, (id + 1) % REGION_PUB), -EPROTO);
		h.version++;
		CHECK_EQ(region_check(&h, id), -EPROTO);
		CHECK_EQ(region_size(id) % PAGE, 0);
	}
	CHECK_EQ(region_size(REGION_PUB), PAGE);
}

UNIT_MAIN(UNIT(a_region_is_sealed_and_private), UNIT(read_only_cannot_be_mapped_for_writing),
	  UNIT(read_only_stays_read_only_for_other_users), UNIT(unsealed_or_short_is_refused), UNIT(header_says_what_it_is))
