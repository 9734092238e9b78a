/* The rules of docs/protocol.md: the mutation build (-DDSM_MUTATE) can switch each of them off. */
#ifndef DSM_CORE_RULES_H
#define DSM_CORE_RULES_H

#ifdef DSM_MUTATE
#define DSM_RULE_ON(node, rule) (!((node)->config.rules_off >> (rule)&1))
#else
#define DSM_RULE_ON(node, rule) ((void)(node), true)
#endif

#endif
