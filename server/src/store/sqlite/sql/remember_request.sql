insert or replace into request (queue, id, digest, job, until) values (?1, ?2, ?3, ?4, ?5)
