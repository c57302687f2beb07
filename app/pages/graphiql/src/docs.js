// The REST door's description, as people read it.
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';
import 'swagger-ui-dist/swagger-ui.css';

SwaggerUI({ url: '/openapi.json', domNode: document.getElementById('docs'), deepLinking: true });
