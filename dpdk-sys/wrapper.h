/* Everything that bindgen reads, and the one thing that it cannot: a macro over a thread-local variable. */
#include <rte_version.h>
#include <rte_errno.h>
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_thread.h>
#include <rte_ring.h>
#include <rte_mempool.h>
#include <rte_mbuf.h>
#include <rte_ethdev.h>
#include <rte_eth_ring.h>
#include <rte_flow.h>
#include <rte_gso.h>
#include <rte_pdump.h>
#include <rte_telemetry.h>
#include <rte_thash.h>

/* The calling thread's rte_errno. */
static inline int dpdk_sys_errno(void)
{
	return rte_errno;
}
