insert or replace into dedup (queue, key, job, until_finished, until) values (?1, ?2, ?3, ?4, ?5)
