/* unit.h – the unit tests' harness: CUnit runs the tests, this prints TAP.
 *
 * A test program is one table and one line:
 *
 *	static void wraps_at_capacity(void) { CHECK_EQ(ring_count(&r), 4); }
 *	UNIT_MAIN(UNIT(wraps_at_capacity), UNIT(full_says_full))
 *
 * CHECK*() record a failure and go on; REQUIRE*() leave the test. CU_ASSERT_* work too. Each failed
 * assertion is a "# FILE:LINE: text" line under its "not ok". To see one test again:
 * run the program with the test's name as its argument (several: several names). */
#ifndef STRATA_UNIT_H
#define STRATA_UNIT_H

#include <CUnit/CUnit.h>
#include <CUnit/TestRun.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct unit_test {
	const char *name;
	void (*fn)(void);
};
#define UNIT(fn) { #fn, fn }

#define CHECK(cond) CU_assertImplementation(!!(cond), __LINE__, #cond, __FILE__, "", CU_FALSE)
#define REQUIRE(cond) CU_assertImplementation(!!(cond), __LINE__, #cond, __FILE__, "", CU_TRUE)
#define CHECK_EQ(a, b) unit_compare_((long long)(a), (long long)(b), #a " == " #b, __FILE__, __LINE__, false)
#define REQUIRE_EQ(a, b) unit_compare_((long long)(a), (long long)(b), #a " == " #b, __FILE__, __LINE__, true)
#define CHECK_STR(a, b) unit_compare_str_((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_MEM(a, b, n) unit_compare_mem_((a), (b), (n), #a " == " #b, __FILE__, __LINE__)

/* @text: the comparison as written; the values are added when they differ. */
static inline void unit_compare_(long long a, long long b, const char *text, const char *file, unsigned line,
				 bool fatal)
{
	char msg[512];

	if (a == b)
		snprintf(msg, sizeof(msg), "%s", text);
	else
		snprintf(msg, sizeof(msg), "%s, but %lld (%#llx) != %lld (%#llx)", text, a,
			 (unsigned long long)a, b, (unsigned long long)b);
	CU_assertImplementation(a == b, line, msg, file, "", fatal);
}

static inline void unit_compare_str_(const char *a, const char *b, const char *text, const char *file,
				     unsigned line)
{
	bool same = a && b && !strcmp(a, b);
	char msg[512];

	snprintf(msg, sizeof(msg), same ? "%s" : "%s, but \"%.150s\" != \"%.150s\"", text, a ? a : "(null)",
		 b ? b : "(null)");
	CU_assertImplementation(same, line, msg, file, "", CU_FALSE);
}

static inline void unit_compare_mem_(const void *a, const void *b, size_t n, const char *text,
				     const char *file, unsigned line)
{
	const unsigned char *x = a, *y = b;
	size_t i = 0;
	char msg[512];

	while (i < n && x[i] == y[i])
		i++;
	if (i == n)
		snprintf(msg, sizeof(msg), "%s", text);
	else
		snprintf(msg, sizeof(msg), "%s (%zu bytes), but byte %zu is %#x != %#x", text, n, i, x[i], y[i]);
	CU_assertImplementation(i == n, line, msg, file, "", CU_FALSE);
}

/* State of the run: one program, one thread that runs tests. */
struct unit_run_ { unsigned number, failed; };
static struct unit_run_ unit_run_;

static void unit_print_(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord first)
{
	(void)suite;
	unit_run_.number++;
	unit_run_.failed += first != NULL;
	printf("%sok %u - %s\n", first ? "not " : "", unit_run_.number, test->pName);
	for (CU_pFailureRecord f = first; f; f = f->pNext)
		printf("# %s:%u: %s\n", f->strFileName, f->uiLineNumber, f->strCondition);
	fflush(stdout);
}

static inline bool unit_wanted_(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

/* Returns the program's exit status: 0 when every test passed and at least one ran. */
static inline int unit_main_(const struct unit_test *tests, size_t n, int argc, char **argv)
{
	unsigned planned = 0;
	CU_pSuite suite;

	if (CU_initialize_registry() != CUE_SUCCESS || !(suite = CU_add_suite("unit", NULL, NULL)))
		goto bail;
	for (size_t i = 0; i < n; i++) {
		if (!unit_wanted_(tests[i].name, argc, argv))
			continue;
		if (!CU_add_test(suite, tests[i].name, tests[i].fn))
			goto bail;
		planned++;
	}
	printf("1..%u\n", planned);
	fflush(stdout);
	CU_set_test_complete_handler(unit_print_);
	if (CU_run_all_tests() != CUE_SUCCESS)
		goto bail;
	CU_cleanup_registry();
	return planned && !unit_run_.failed && unit_run_.number == planned ? 0 : 1;
bail:
	printf("Bail out! %s\n", CU_get_error_msg());
	return 1;
}

#define UNIT_MAIN(...)                                                        \
	int main(int argc, char **argv)                                       \
	{                                                                     \
		static const struct unit_test all[] = { __VA_ARGS__ };        \
		return unit_main_(all, sizeof(all) / sizeof(all[0]), argc, argv); \
	}

#endif
