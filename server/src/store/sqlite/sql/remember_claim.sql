insert or replace into replay (queue, id, secret, jobs, until) values (?1, ?2, ?3, ?4, ?5)
