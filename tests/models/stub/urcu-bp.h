/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the liburcu header: grace periods are not modelled, and no handle is freed. */
#ifndef MODEL_URCU_BP_H
#define MODEL_URCU_BP_H

static inline void urcu_bp_read_lock(void)
{
}

static inline void urcu_bp_read_unlock(void)
{
}

static inline void urcu_bp_synchronize_rcu(void)
{
}

#endif
