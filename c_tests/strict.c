/* The header alone, in the strictest C99 and in C++11: every function has the type that hosts rely on. */
#include <plue_session.h>
#include <plue_session.h> /* twice is once */

#ifdef __cplusplus
#define SAME(name, type) static type name##_ = name
extern "C" void called(uint8_t type, const char *event_json, void *user_data);
extern "C" int cleaned(const char *session_json, void *user_data);
#else
#define SAME(name, type) static type name##_ = name
void called(uint8_t type, const char *event_json, void *user_data);
int cleaned(const char *session_json, void *user_data);
#endif

typedef int (*text_status)(const char *);
typedef void (*nothing)(void);
typedef const char *(*constant_text)(void);
typedef char *(*owned_text)(void);
typedef int (*number)(void);
typedef void (*give_back)(char *);
typedef void (*give_back_memory)(void *);
typedef char *(*text_text)(const char *);
typedef char *(*number_text)(int);
typedef plue_session_t (*text_session)(const char *);
typedef char *(*session_text)(plue_session_t);
typedef plue_session_t (*session_text_session)(plue_session_t, const char *);
typedef char *(*session_text_text)(plue_session_t, const char *);
typedef char *(*session_text_number_text)(plue_session_t, const char *, int);
typedef int (*number_status)(int);
typedef int (*session_status)(plue_session_t);
typedef int (*session_text_status)(plue_session_t, const char *);
typedef int (*session_two_texts_status)(plue_session_t, const char *, const char *);
typedef int (*two_texts_status)(const char *, const char *);
typedef void (*session_nothing)(plue_session_t);
typedef uint32_t (*subscribe)(plue_event_callback, void *);
typedef void (*unsubscribe)(uint32_t);
typedef const char *(*number_name)(int);
typedef char *(*two_texts_text)(const char *, const char *);
typedef int64_t (*two_texts_integer)(const char *, const char *, int64_t);
typedef double (*two_texts_real)(const char *, const char *, double);
typedef uint64_t (*text_operation)(const char *);
typedef int (*operation_status)(uint64_t);
typedef plue_session_observer_t (*observe)(plue_session_t, const char *);
typedef char *(*observer_number_text)(plue_session_observer_t, int);
typedef char *(*observer_text)(plue_session_observer_t);
typedef int (*observer_number)(plue_session_observer_t);
typedef void (*observer_nothing)(plue_session_observer_t);
typedef const char *(*two_texts_name)(const char *, const char *);
typedef int (*set_cleaner)(plue_session_cleaner, void *);
typedef int (*each)(const char *, const char *, int (*)(const char *, void *), void *);

SAME(plue_init, text_status);
SAME(plue_shutdown, nothing);
SAME(plue_get_version, constant_text);
SAME(plue_get_app_info, owned_text);
SAME(plue_get_last_error, constant_text);
SAME(plue_get_last_error_json, constant_text);
SAME(plue_get_last_error_code, number);
SAME(plue_free_json, give_back);
SAME(plue_free_string, give_back);
SAME(plue_free, give_back_memory);
SAME(plue_json_quote, text_text);
SAME(plue_error_name, number_name);
SAME(plue_version_number, number);
SAME(plue_json_text, two_texts_text);
SAME(plue_json_int, two_texts_integer);
SAME(plue_json_double, two_texts_real);
SAME(plue_json_count, two_texts_status);
SAME(plue_json_each, each);
SAME(plue_session_create, text_session);
SAME(plue_session_create_with, text_session);
SAME(plue_session_get_or_create, text_session);
SAME(plue_session_open, text_session);
SAME(plue_session_get_info, session_text);
SAME(plue_session_peek_info, session_text);
SAME(plue_session_get_id, session_text);
SAME(plue_session_list, owned_text);
SAME(plue_session_query, text_text);
SAME(plue_session_count, text_status);
SAME(plue_session_update_title, session_text_status);
SAME(plue_session_update, session_text_status);
SAME(plue_session_initialize, session_two_texts_status);
SAME(plue_session_delete, session_status);
SAME(plue_session_abort, session_status);
SAME(plue_session_abort_turn, session_text_status);
SAME(plue_session_fork, session_text_session);
SAME(plue_session_sync, number_status);
SAME(plue_session_sync_status, owned_text);
SAME(plue_session_discard_pending, session_text_status);
SAME(plue_session_create_share, session_text);
SAME(plue_session_unshare, session_status);
SAME(plue_session_validate_share, two_texts_status);
SAME(plue_session_batch, text_text);
SAME(plue_session_submit, text_operation);
SAME(plue_session_cancel_operation, operation_status);
SAME(plue_session_enqueue, session_text_text);
SAME(plue_session_run_turn, session_text_number_text);
SAME(plue_session_cancel_turns, session_status);
SAME(plue_session_messages, session_text_text);
SAME(plue_session_permissions, session_text);
SAME(plue_session_reply_permission, session_two_texts_status);
SAME(plue_session_questions, session_text);
SAME(plue_session_reply_question, session_two_texts_status);
SAME(plue_session_usage, session_text);
SAME(plue_session_todos, session_text);
SAME(plue_session_diff, session_text_text);
SAME(plue_session_choices, session_text);
SAME(plue_session_inputs, session_text);
SAME(plue_session_cancel_inputs, session_text_text);
SAME(plue_session_cancel_inputs_from, session_text_text);
SAME(plue_session_vacuum, session_status);
SAME(plue_session_relay_spawn, session_status);
SAME(plue_session_relay_attach, session_text_status);
SAME(plue_session_relay_heartbeat, session_status);
SAME(plue_session_relay_count_message, session_status);
SAME(plue_session_relay_terminate, two_texts_status);
SAME(plue_session_relay_clean, text_status);
SAME(plue_session_relay_get, text_session);
SAME(plue_session_relay_next_state, two_texts_name);
SAME(plue_session_set_cleaner, set_cleaner);
SAME(plue_session_metrics, text_text);
SAME(plue_session_destroy, session_nothing);
SAME(plue_event_subscribe, subscribe);
SAME(plue_event_unsubscribe, unsubscribe);
SAME(plue_event_poll, owned_text);
SAME(plue_event_wait, number_text);
SAME(plue_event_fd, number);
SAME(plue_session_peek_id, text_text);
SAME(plue_session_observation, session_text);
SAME(plue_session_observe, observe);
SAME(plue_session_observer_next, observer_number_text);
SAME(plue_session_observer_fd, observer_number);
SAME(plue_session_observer_cursor, observer_text);
SAME(plue_session_observer_wake, observer_nothing);
SAME(plue_session_observer_close, observer_nothing);

void called(uint8_t type, const char *event_json, void *user_data)
{
    (void)type;
    (void)event_json;
    (void)user_data;
}

int cleaned(const char *session_json, void *user_data)
{
    return session_json == 0 || user_data != 0;
}

int main(void)
{
    plue_event_callback callback = called;
    plue_session_cleaner cleaner = cleaned;
    plue_session_t all = PLUE_ALL_SESSIONS, current = PLUE_CURRENT_SESSION;
    switch (plue_get_last_error_code_()) {
    case PLUE_OK:
        break;
    case PLUE_ERROR_UNKNOWN:
    case PLUE_ERROR_INVALID_PARAM:
        return 2;
    }
    return callback == 0 || cleaner == 0 || all == current || PLUE_API_VERSION < 1 || PLUE_EVENT_GAP != 33 ||
           plue_init_ == 0 || plue_shutdown_ == 0 || plue_get_version_()[0] == 0 || plue_get_app_info_ == 0 ||
           plue_get_last_error_()[0] != 'N' || plue_get_last_error_json_()[0] != '{' || plue_free_json_ == 0 ||
           plue_free_string_ == 0 || plue_free_ == 0 || plue_json_quote_ == 0 || plue_error_name_(PLUE_OK)[0] != 'O' ||
           plue_version_number_() != PLUE_VERSION_NUMBER || plue_json_text_ == 0 || plue_json_int_ == 0 ||
           plue_json_double_ == 0 || plue_json_count_ == 0 || plue_json_each_ == 0 || plue_session_create_ == 0 ||
           plue_session_create_with_ == 0 || plue_session_get_or_create_ == 0 || plue_session_open_ == 0 ||
           plue_session_get_info_ == 0 || plue_session_peek_info_ == 0 || plue_session_get_id_ == 0 ||
           plue_session_list_ == 0 || plue_session_query_ == 0 || plue_session_count_ == 0 ||
           plue_session_update_title_ == 0 || plue_session_update_ == 0 || plue_session_initialize_ == 0 ||
           plue_session_delete_ == 0 || plue_session_abort_ == 0 || plue_session_abort_turn_ == 0 ||
           plue_session_fork_ == 0 || plue_session_sync_ == 0 || plue_session_sync_status_ == 0 ||
           plue_session_create_share_ == 0 || plue_session_unshare_ == 0 || plue_session_validate_share_ == 0 ||
           plue_session_destroy_ == 0 || plue_event_subscribe_ == 0 || plue_event_unsubscribe_ == 0 ||
           plue_session_discard_pending_ == 0 || plue_session_batch_ == 0 || plue_session_submit_ == 0 ||
           plue_session_cancel_operation_ == 0 || plue_event_poll_ == 0 || plue_event_wait_ == 0 ||
           plue_event_fd_ == 0 || plue_session_peek_id_ == 0 || plue_session_observation_ == 0 ||
           plue_session_observe_ == 0 || plue_session_observer_next_ == 0 || plue_session_observer_fd_ == 0 ||
           plue_session_enqueue_ == 0 || plue_session_run_turn_ == 0 || plue_session_cancel_turns_ == 0 ||
           plue_session_messages_ == 0 || plue_session_permissions_ == 0 || plue_session_reply_permission_ == 0 ||
           plue_session_questions_ == 0 || plue_session_reply_question_ == 0 || plue_session_usage_ == 0 ||
           plue_session_todos_ == 0 || plue_session_diff_ == 0 || plue_session_choices_ == 0 ||
           plue_session_inputs_ == 0 || plue_session_cancel_inputs_ == 0 || plue_session_cancel_inputs_from_ == 0 ||
           plue_session_vacuum_ == 0 || plue_session_observer_cursor_ == 0 || plue_session_observer_wake_ == 0 ||
           plue_session_observer_close_ == 0 || plue_session_relay_spawn_ == 0 || plue_session_relay_attach_ == 0 ||
           plue_session_relay_heartbeat_ == 0 || plue_session_relay_count_message_ == 0 ||
           plue_session_relay_terminate_ == 0 || plue_session_relay_clean_ == 0 || plue_session_relay_get_ == 0 ||
           plue_session_relay_next_state_("CREATED", "SPAWN")[0] != 'S' || plue_session_set_cleaner_ == 0 ||
           plue_session_metrics_ == 0;
}
